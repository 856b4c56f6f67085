"""Tables and figures of spectra, scales and activations, from records written by hand."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import matplotlib.style
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from ngptlab.draw import panels as drawing
from ngptlab.measure.scales.show import print_scales, write_scales
from ngptlab.measure.spectra import figure as spectra_figure
from ngptlab.measure.spectra.figure import by_layer, condition
from ngptlab.measure.spectra.show import print_spectra, write_spectra
from ngptlab.stats.tables import flat, write_table

SPREAD = {
    "mean": 2.0,
    "std": 0.5,
    "min": 1.0,
    "q05": 1.1,
    "q25": 1.5,
    "q50": 2.0,
    "q75": 2.5,
    "q95": 2.9,
    "max": 3.0,
}


def matrix(
    place: str, layer: int | None, head: int | None, value: float | None, view: str = "stored"
) -> dict[str, Any]:
    return {
        "name": place if layer is None else f"blocks.{layer}.{place}",
        "layer": layer,
        "place": place,
        "view": view,
        "head": head,
        "condition": value,
        "effective_rank": 3.0,
        "full_rank": 4,
        "norms_along": SPREAD,
        "singular_values": [3.0, 1.0],
    }


def embedding(name: str, pairs: str) -> dict[str, Any]:
    return {
        "name": name,
        "view": "stored",
        "norms": {**SPREAD, "percentiles": [n / 50 for n in range(101)]},
        "cosines": {"pairs": pairs, **SPREAD, "percentiles": [n / 100 - 0.5 for n in range(101)]},
        "covariance_eigenvalues": [4.0, 2.0, 1.0],
        "gram_eigenvalues": [4.0, 2.0, 1.0],
    }


def spectra(last: float | None = 100.0) -> dict[str, Any]:
    """Three heads in two blocks; the third of block 1 has the condition number `last`."""
    attn = [matrix("attn.W_q", n, head, v) for n in (0, 1) for head, v in enumerate((2.0, 50.0 + n, last))]
    whole = [matrix("attn.W_q", n, None, 1e6) for n in (0, 1)]
    mlp = [matrix("mlp.W_u", n, None, 7.0, view) for n in (0, 1) for view in ("stored", "effective")]
    embeddings = [embedding("E_in", "exact"), embedding("E_out", "sampled")]
    return {
        "step": 8,
        "matrices": [*whole, *attn, *mlp, matrix("E_in", None, None, 9.0)],
        "embeddings": embeddings,
    }


def scale(place: str, layer: int | None, mean: float, kind: str = "rate") -> dict[str, Any]:
    where = {"name": f"{layer}.{place}", "layer": layer, "place": place, "kind": kind}
    return {**where, **SPREAD, "mean": mean, "negative": 0.25}


SCALES = [scale("attn_residual.alpha", n, 0.1 * (n + 1)) for n in (0, 1)] + [
    scale("logits_map.s_z", None, 7.5, "logits")
]


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def drawn(figure: Figure) -> dict[str, dict[str, list[float]]]:
    """Title of a panel -> label of a line -> its heights."""
    return {
        axes.get_title(): {str(line.get_label()): list(line.get_ydata()) for line in axes.get_lines()}  # type: ignore[arg-type]
        for axes in figure.axes
    }


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """Every figure that would be written, by its name; laying out and writing takes most of the time, and is left out."""
    kept: dict[str, Figure] = {}

    def keep(out: Path, name: str, build: Any, style: Any) -> None:
        with matplotlib.style.context(["default", style]):
            kept[name] = build()

    for module in ("spectra", "scales"):
        monkeypatch.setattr(f"ngptlab.measure.{module}.figure.write", keep)
    return kept


def test_by_layer_takes_heads_where_there_are_any() -> None:
    assert by_layer(spectra(), "attn.W_q", "stored", condition) == {0: [2, 50, 100], 1: [2, 51, 100]}
    assert by_layer(spectra(None), "attn.W_q", "stored", condition)[0] == [2, 50, math.inf]
    assert by_layer(spectra(), "mlp.W_u", "effective", condition) == {0: [7], 1: [7]}
    assert by_layer(spectra(), "attn.W_q", "effective", condition) == {}


def test_the_figure_shows_the_median_head(tmp_path: Path, figures: dict[str, Figure]) -> None:
    write_spectra({"one": spectra(), "other": spectra(None)}, tmp_path)
    lines = drawn(figures["spectra-condition"])
    assert lines["attn.W_q"]["one, stored"] == lines["attn.W_q"]["other, stored"] == [50, 51]
    assert lines["mlp.W_u"]["one, effective"] == [7, 7]
    assert drawn(figures["spectra-rank"])["mlp.W_u"]["one, stored"] == [0.75, 0.75]
    assert drawn(figures["spectra-embeddings"])["E_out: eigenvalues of the covariance"]
    captions = [text.get_text() for text in figures["spectra-embeddings"].texts]
    assert any("random sample" in caption for caption in captions)


def test_a_singular_matrix_is_a_cross_at_the_top(tmp_path: Path, figures: dict[str, Figure]) -> None:
    record = spectra()
    for entry in record["matrices"]:
        if entry["place"] == "mlp.W_u" and entry["layer"] == 1:
            entry["condition"] = None
    write_spectra({"run": record}, tmp_path)
    (panel,) = (axes for axes in figures["spectra-condition"].axes if axes.get_title() == "mlp.W_u")
    crosses = [line for line in panel.get_lines() if line.get_marker() == "x"]
    assert len(crosses) == 2, "one for each view"
    assert all(list(cross.get_xdata()) == [1] for cross in crosses)  # type: ignore[arg-type]


def test_what_has_no_number_at_all_is_drawn(tmp_path: Path, figures: dict[str, Figure]) -> None:
    """Singular matrices and zero vectors only, as muP's initial E_out has; and one head of three."""
    zero = spectra(None)
    for entry in zero["matrices"]:
        entry["condition"] = None
    for entry in zero["embeddings"]:
        entry["norms"]["percentiles"] = [0.0] * 101
        entry["cosines"] = {"pairs": "exact", "count": 0}
        entry["covariance_eigenvalues"] = [0.0] * 3
    for record in (zero, spectra(None)):
        spectra_figure.draw({"run": record}, tmp_path)
        for name in ("spectra-condition", "spectra-embeddings"):
            figures[name].draw_without_rendering()


def test_tables_of_spectra(tmp_path: Path, figures: dict[str, Figure]) -> None:
    write_spectra({"one": spectra(None)}, tmp_path)
    rows = table(tmp_path / "spectra.csv")
    assert len(rows) == 13
    head = next(row for row in rows if row["head"] == "2")
    assert (head["run"], head["step"], head["layer"], head["condition"]) == ("one", "8", "0", "")
    assert head["norms_along_q25"] == "1.5" and "singular_values" not in head
    assert json.loads((tmp_path / "spectra.json").read_text())[4]["condition"] is None
    cloud = table(tmp_path / "spectra-embeddings.csv")[0]
    assert (cloud["name"], cloud["cosines_pairs"], cloud["norms_max"]) == ("E_in", "exact", "3.0")


def test_scales_against_depth_and_their_course(tmp_path: Path, figures: dict[str, Figure]) -> None:
    measured = {"with": {"step": 8, "scales": SCALES}, "without": {"step": 8, "scales": []}}
    early = [scale("attn_residual.alpha", n, 0.05) for n in (0, 1)] + [
        scale("logits_map.s_z", None, 1.0, "logits")
    ]
    course = [{"step": 0, "scales": early}, {"step": 8, "scales": SCALES}]
    write_scales(measured, {"with": course, "without": []}, tmp_path)
    assert drawn(figures["scales"])["alpha of attn_residual"]["with"] == pytest.approx([0.1, 0.2])
    over_steps = drawn(figures["scales-course"])
    assert sorted(over_steps["with: alpha of attn_residual"].values()) == [[0.05, 0.1], [0.05, 0.2]]
    assert list(over_steps["with: s_z of logits_map"].values()) == [[1, 7.5]]
    assert any(
        "Without scales: without." in text.get_text().replace("\n", " ") for text in figures["scales"].texts
    )
    rows = table(tmp_path / "scales-course.csv")
    assert [(row["step"], row["layer"], row["mean"]) for row in rows[2:4]] == [
        ("0", "", "1.0"),
        ("8", "0", "0.1"),
    ]
    assert len(table(tmp_path / "scales.csv")) == 3


def test_every_run_is_inside_its_panel(tmp_path: Path, figures: dict[str, Figure]) -> None:
    larger = [{**scale, **{key: 100 * scale[key] for key in ("mean", "q25", "q75")}} for scale in SCALES]
    write_scales({"a": {"step": 8, "scales": SCALES}, "b": {"step": 8, "scales": larger}}, {}, tmp_path)
    for axes in figures["scales"].axes:
        if axes.get_title() == "alpha of attn_residual":
            low, high = axes.get_ylim()
            assert low == 0 and high > 250, "b's band ends at 250"
            assert axes.get_lines()[1].get_ydata()[1] == pytest.approx(20)  # type: ignore[index]


def test_no_scales_no_figure(tmp_path: Path) -> None:
    write_scales({"plain": {"step": 8, "scales": []}}, {"plain": []}, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "scales-course.csv",
        "scales-course.json",
        "scales.csv",
        "scales.json",
    ]


def test_same_numbers_same_bytes(tmp_path: Path) -> None:
    measured = {"run $1$": {"step": 8, "scales": SCALES}}
    for name in "ab":
        (tmp_path / name).mkdir()
        write_scales(measured, {}, tmp_path / name)
    paths = list((tmp_path / "a").iterdir())
    assert {path.suffix for path in paths} == {".png", ".svg", ".csv", ".json"}
    for path in paths:
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_summaries(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(width=120)
    print_spectra({"run [b]": spectra()}, console)
    print_scales({"with": {"step": 8, "scales": SCALES}, "without": {"step": 8, "scales": []}}, console)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["attn.W_q", "50.5"] in lines and ["mlp.W_u", "7", "7"] in lines
    assert ["alpha", "of", "attn_residual", "0.1", "to", "0.2"] in lines
    assert any(line[:3] == ["without:", "no", "scales,"] for line in lines)


def test_flat_leaves_lists_out(tmp_path: Path) -> None:
    assert flat({"a": 1, "b": {"c": {"d": 2}, "e": [1]}, "f": None}) == {"a": 1, "b_c_d": 2, "f": None}
    write_table(tmp_path, "t", [{"a": 1}, {"b": None, "a": 2}])
    assert (tmp_path / "t.csv").read_text() == "a,b\n1,\n2,\n"


def test_plain_labels_on_logarithmic_axes() -> None:
    figure, ((axes,),) = drawing.panels(1, 1, "caption")
    for top, expected in (
        (3.0, ["1", "1.5", "2", "3"]),
        (9.0, ["1", "2", "5"]),
        (5e6, ["1", "10", "1e5", "1e6"]),
    ):
        axes.clear()
        axes.plot([0, 1], [1, top])
        drawing.logarithmic(axes, "y")
        figure.canvas.draw()
        assert set(expected) <= {label.get_text() for label in axes.get_yticklabels()}


def test_every_view_has_a_line() -> None:
    from ngptlab.measure.matrices import VIEWS
    from ngptlab.measure.spectra import verb

    assert tuple(spectra_figure.LINES) == tuple(spectra_figure.MEANINGS) == VIEWS == verb.VIEWS
