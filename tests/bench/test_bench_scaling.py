"""`bench scaling`: exponents of made-up costs, what is written, one-line errors, and a quick run of all of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ngptlab import recipes
from ngptlab.bench import scaling as module
from ngptlab.bench.axes import AXES, QUICK, Point
from ngptlab.bench.fit import Axis, Exponent, Growth
from ngptlab.bench.measure import Cost
from ngptlab.cli import main
from ngptlab.device import Device

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first method costs what is counted, the second its square; memory is the root of it."""

    def measure(
        methods: Sequence[str],
        points: Sequence[Point],
        *,
        turns: int,
        device: Device,
        tell: Callable[[str], None],
    ) -> dict[str, list[Cost]]:
        return {
            method: [
                # The median is right where the mean is not.
                Cost((*(1e-9 * p.flops ** (1 + i),) * (turns - 1), 1e9), round(1e6 * p.flops**0.5))
                for p in points
            ]
            for i, method in enumerate(methods)
        }

    monkeypatch.setattr(module, "measure", measure)


def test_exponents_of_made_up_costs(made_up: None, capsys: Captured, tmp_path: Path) -> None:
    command = ["bench", "scaling", "--methods", "qk_norm", "gpt", "--axes", "width", "batch", "--turns", "5"]
    assert main([*command, "--quick", "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "scaling.json").read_text())
    assert record["quick"] and record["turns"] == 5 and record["base"] == QUICK.base
    assert list(record["axes"]) == ["width", "batch"] and record["machine"]["threads"] >= 1
    for name, axis in record["axes"].items():
        assert axis["sizes"] == list(QUICK.along[name])
        assert axis["step_flops"] == [point.flops for point in QUICK.points(name)]
        expected = axis["expected_time"]["value"]
        plain, square = axis["methods"]["qk_norm"], axis["methods"]["gpt"]
        assert plain["time"] == pytest.approx(axis["expected_time"], abs=1e-9)
        assert square["time"]["value"] == pytest.approx(2 * expected, abs=1e-9)
        # Bytes are rounded to whole ones, of at least 1e8.
        assert plain["memory"]["value"] == pytest.approx(expected / 2, abs=1e-6)
        assert plain["flops_per_second"] == pytest.approx([1e9] * 5, rel=1e-12)
    heading, *rows, _, path = capsys.readouterr().out.splitlines()
    assert heading.split()[:3] == ["axis", "sizes", "fitted"] and path == str(tmp_path / "out")
    assert [(row.split()[0], row.split()[2]) for row in rows] == [
        (axis, method) for axis in ("width", "batch") for method in ("qk_norm", "gpt")
    ]
    batch, twice = rows[2].split(), rows[3].split()
    assert batch[1] == "8..32" and batch[3:8] == ["1.00", "±", "0.00", "1.00", "+0.00"]
    assert twice[3:8] == ["2.00", "±", "0.00", "1.00", "+1.00"]


def test_rounding_below_what_is_shown_has_no_sign() -> None:
    """The last digit of a fit is another on another machine: what is shown as zero is "0.00" on each."""
    below = Exponent(-1e-16, 0.0)
    growth = Growth(((1.0,),), (1.0,), (1.0,), (1,), below, below)
    _, row, _ = module.table(
        {"width": Axis((8, 16, 32), (1, 2, 3), Exponent(0.0, None), {"gpt": growth})}
    ).splitlines()
    assert row.split()[3:11] == ["0.00", "±", "0.00", "0.00", "+0.00", "0.00", "±", "0.00"]


def test_figure(made_up: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel of time and one of memory for each axis, log-log, all methods and the counted exponent in its legend."""
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    save = Figure.savefig

    def kept(self: Figure, *arguments: Any, **more: Any) -> None:
        drawn.append(self)
        save(self, *arguments, **more)

    monkeypatch.setattr(Figure, "savefig", kept)
    assert main(["bench", "scaling", "--quick", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    panels = drawn[0].get_axes()
    assert len(panels) == 2 * len(AXES)
    assert {(p.get_xscale(), p.get_yscale()) for p in panels} == {("log", "log")}
    assert [p.get_title() for p in panels[: len(AXES)]] == list(AXES)
    batch = panels[AXES.index("batch")].get_legend_handles_labels()[1]
    first, second = recipes.recipe("demo").methods
    assert batch == [f"{first}: 1.00", f"{second}: 2.00", "counted: 1.00"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "what"),
        (["scalin"], "scalin"),
        (["scaling", "--methods", "ngtp"], "did you mean 'ngpt'?"),
        (["scaling", "--methods", "gpt", "gpt"], "name each once"),
        (["scaling", "--axes", "heads"], "heads"),
        (["scaling", "--axes", "width", "width"], "name each once"),
        (["scaling", "--turns", "0"], "given '0'"),
        (["scaling", "--out", "file"], "file"),
        (["scaling", "--out", "file/folder"], "file"),
    ],
)
def test_wrong_use(
    arguments: list[str], said: str, capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, before anything is measured or written."""

    def measure(*arguments: object, **more: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(module, "measure", measure)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("in the way")
    before = sorted(tmp_path.iterdir())
    assert main(["bench", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("ngptlab: ") and err.count("\n") == 1 and said in err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_quick(capsys: Captured, tmp_path: Path) -> None:
    """All of it, on this machine: what must grow grows. Times are not judged."""
    assert main(["bench", "scaling", "--quick", "--turns", "1", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "scaling.json").read_text())
    assert list(record["axes"]) == list(AXES)
    for axis in record["axes"].values():
        assert list(axis["methods"]) == list(recipes.recipe("demo").methods)
        for growth in axis["methods"].values():
            peaks = growth["peak_bytes"]
            assert peaks == sorted(set(peaks)), "memory grows with every size"
            assert 0.5 < growth["memory"]["value"] < 2
            assert all(seconds > 0 for turns in growth["step_seconds"] for seconds in turns)
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().err.count("turn 1 of 1") == len(AXES)
