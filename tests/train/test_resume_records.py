"""A run goes on only from records that are whole: with damaged ones it takes an earlier checkpoint, or says which file it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from damaged_runs import (
    Break,
    Damage,
    Teller,
    Trained,
    damage,
    digit_of_line,
    lines_of,
    nan_in_line,
    top_bit_of_line,
    with_line,
    without_line,
)
from ngptlab.errors import CheckpointError
from ngptlab.experiment import train
from ngptlab.runs import Run
from ngptlab.streams import STREAMS
from ngptlab.train.checkpoint import list_checkpoints
from ngptlab.train.fork import fork

Outcome = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def killed(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("NGPTLAB_CACHE", str(trained.folder / "cache"))
    shutil.copytree(trained.folder / "killed", tmp_path / "run")
    return Run(tmp_path / "run")


def as_before_digests(run: Run) -> None:
    """Manifests as they were before they held digests of the streams."""
    for checkpoint in list_checkpoints(run.path / "checkpoints"):
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        del manifest["streams"], manifest["sha256"]
        (checkpoint / "manifest.json").write_text(json.dumps(manifest))


ANYWHERE: dict[str, Damage] = {
    "removed": lambda content: None,
    "emptied": lambda content: b"",
    "cut in the first line": lambda content: content[:9],
    "cut after the first line": lambda content: lines_of(content)[0],
    "first line missing": without_line(1),
    "line 5": with_line(1, b"5\n"),
    "an empty line": with_line(1, b"\n"),
    "an empty object": with_line(1, b"{}\n"),
    "a list": with_line(1, b"[1]\n"),
    "not a number": nan_in_line(1),
    "a step in words": with_line(1, b'{"step": "one"}\n'),
    "top bit": top_bit_of_line(1),
    "zeros": lambda content: b"\0" * (len(content) - 1) + b"\n",
    "first line twice": lambda content: lines_of(content)[0] + content,
    "lines swapped": lambda content: b"".join([*lines_of(content)[1::-1], *lines_of(content)[2:]]),
}
"""What leaves no sound record of step 3, where the older of two checkpoints stands."""


def refusal(run: Run, trained: Trained) -> str:
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError) as caught:
        train(trained.config, run.path)
    told = {run.path / ".lock", run.path / "summary.json"}
    assert {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file() and p not in told} == {
        p: content for p, content in before.items() if p not in told
    }, "nothing is lost"
    return str(caught.value)


@pytest.mark.parametrize("kept", ["digests", "no digests"])
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("how", ANYWHERE.values(), ids=list(ANYWHERE))
def test_without_sound_records_nothing_goes_on(
    how: Damage, stream: str, kept: str, killed: Run, trained: Trained
) -> None:
    if kept == "no digests":
        as_before_digests(killed)
    damage(killed, stream, how)
    message = refusal(killed, trained)
    assert "\n" not in message and str(killed.path_of(stream)) in message
    assert "no sound checkpoint among 2" in message and message.endswith("remove the run to train it anew")


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("how", [digit_of_line(1), "of another run"], ids=["a digit", "of another run"])
def test_a_digest_tells_what_looks_sound(
    how: Damage | str, stream: str, killed: Run, trained: Trained
) -> None:
    other = (trained.folder / "other" / f"{stream}.jsonl").read_bytes()
    damage(killed, stream, (lambda content: other) if isinstance(how, str) else how)
    assert f"{killed.path_of(stream)}: damaged (" in refusal(killed, trained)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"5", "holds int, not an object"),
        (
            b'{"step": 3, "tokens": 192, "loss_nats": NaN, "lr": 1, "grad_norm": 1}',
            "no JSON: NaN is no JSON number",
        ),
        (b'{"step": 4, "tokens": 256, "loss_nats": 1, "lr": 1, "grad_norm": 1}', "step 4 where 3 belongs"),
        (b'{"step": 3, "tokens": 999, "loss_nats": 1, "lr": 1, "grad_norm": 1}', "999 tokens where"),
        (b'{"step": 3, "tokens": 192, "loss_nats": true, "lr": 1, "grad_norm": 1}', "loss_nats is true"),
        (b'{"step": 3, "tokens": 192, "lr": 1, "grad_norm": 1}', "no loss_nats"),
        (b"\xff", "not in UTF-8"),
    ],
)
def test_the_line_is_named_with_its_reason(line: bytes, why: str, killed: Run, trained: Trained) -> None:
    as_before_digests(killed)
    damage(killed, "metrics", with_line(3, line + b"\n"))
    assert f"{killed.path_of('metrics')}, line 3: damaged ({why}" in refusal(killed, trained)


LATER: dict[str, dict[str, Damage]] = {
    "metrics": {
        "line 5 missing": without_line(5),
        "top bit": top_bit_of_line(6),
        "a digit": digit_of_line(6),
    },
    "timing": {"line 5 missing": without_line(5), "top bit": top_bit_of_line(6), "a digit": digit_of_line(6)},
    "evals": {"line 3 missing": without_line(3), "top bit": top_bit_of_line(3), "a digit": digit_of_line(3)},
    "scales": {"line 3 missing": without_line(3), "top bit": top_bit_of_line(3), "a digit": digit_of_line(3)},
}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("which", range(3))
def test_records_damaged_late_cost_the_steps_since_the_checkpoint_before(
    which: int, stream: str, killed: Run, trained: Trained, outcome: Outcome
) -> None:
    damage(killed, stream, list(LATER[stream].values())[which])
    teller = Teller()
    run = train(trained.config, killed.path, reporter=teller)
    assert any(
        "step_000006" in note and f"{stream}.jsonl" in note and "falling back" in note
        for note in teller.notes
    )
    assert "goes on after step 3" in teller.notes
    assert outcome(run.path) == outcome(trained.folder / "straight")
    assert [record["step"] for record in run.read("timing")] == list(range(1, 9))


AFTERWARDS: dict[str, Damage] = {
    "torn": lambda content: content + b'{"step": 8, "lo',
    "zeros": lambda content: content + b"\0\0\0\n\0",
    "doubled": lambda content: content * 2,
    "later steps are nonsense": lambda content: content + b'{"step": 7}\n5\n\xff\xfe\n',
}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("how", AFTERWARDS.values(), ids=list(AFTERWARDS))
def test_what_came_after_the_checkpoint_is_recorded_again(
    how: Damage, stream: str, killed: Run, trained: Trained, outcome: Outcome
) -> None:
    damage(killed, stream, how)
    teller = Teller()
    run = train(trained.config, killed.path, reporter=teller)
    assert "goes on after step 6" in teller.notes
    assert outcome(run.path) == outcome(trained.folder / "straight")
    assert [record["step"] for record in run.read("timing")] == list(range(1, 9))


def test_a_run_saved_before_there_were_digests_goes_on(
    killed: Run, trained: Trained, outcome: Outcome
) -> None:
    as_before_digests(killed)
    assert outcome(train(trained.config, killed.path).path) == outcome(trained.folder / "straight")


@pytest.mark.parametrize(
    "digests",
    [
        5,
        {},
        {"metrics": 5},
        {stream: {"bytes": -1, "sha256": ""} for stream in STREAMS},
        {"metrics": {"bytes": True}},
    ],
)
def test_damaged_digests_are_damage(digests: object, killed: Run, trained: Trained) -> None:
    for checkpoint in list_checkpoints(killed.path / "checkpoints"):
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        del manifest["sha256"]  # by which the change would be known before it is looked at
        (checkpoint / "manifest.json").write_text(json.dumps({**manifest, "streams": digests}))
    assert "no digest of metrics.jsonl" in refusal(killed, trained)


def test_streams_of_a_run_that_was_never_saved_are_begun_anew(
    killed: Run, trained: Trained, outcome: Outcome
) -> None:
    """Whatever they hold: nothing is gone on from."""
    shutil.rmtree(killed.path / "checkpoints")
    killed.path_of("metrics").write_bytes(b"\xff\n5\n")
    killed.path_of("evals").unlink()
    assert outcome(train(trained.config, killed.path).path) == outcome(trained.folder / "straight")


@pytest.mark.parametrize("at", [((2,), ()), ((), (2,)), ((2, 4), (4,)), ((4,), (2, 7))])
def test_steps_measured_besides_may_change_between_two_starts(
    at: tuple[tuple[int, ...], tuple[int, ...]], killed: Run, trained: Trained, tmp_path: Path
) -> None:
    first, second = (
        trained.config.model_copy(update={"eval": trained.config.eval.model_copy(update={"at": steps})})
        for steps in at
    )
    with pytest.raises(Break):
        train(first, tmp_path / "marked", reporter=Teller(7))
    assert train(second, tmp_path / "marked").done
    steps = [record["step"] for record in Run(tmp_path / "marked").read("evals") if record["eval"] == "val"]
    expected = {0, 3, 6, 8} | {s for s in at[0] if s <= 6} | {s for s in at[1] if s > 6}
    assert steps == sorted(expected)


@pytest.mark.parametrize(
    "text", [None, "{}", "[]", "5", "{", "", '{"data_digest": 5}', '{"python": "3"}', '{"data_digest": NaN}']
)
def test_the_data_a_run_began_with_must_be_known(text: str | None, killed: Run, trained: Trained) -> None:
    path = killed.path / "env.json"
    path.unlink() if text is None else path.write_text(text)
    message = refusal(killed, trained)
    assert message.startswith(f"{path}: ") and message.endswith("remove the run to train it anew")


def test_digests_do_not_read_the_streams_again(
    trained: Trained, killed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost of a save must not grow with the run."""
    read: list[str] = []
    content = Run.content

    def counted(self: Run, stream: str) -> bytes:
        read.append(stream)
        return content(self, stream)

    config = trained.config.model_copy(
        update={"checkpoint": trained.config.checkpoint.model_copy(update={"every": 1, "keep": 8})}
    )
    monkeypatch.setattr(Run, "content", counted)
    run = train(config, tmp_path / "often")
    at_the_end = ["evals"] * 4 + ["timing"]
    assert sorted(read) == sorted([*STREAMS, *at_the_end]), (
        "each when it is begun; evaluations for the last two records, for what the run learned and for its final loss; its times"
    )
    saved = list_checkpoints(run.path / "checkpoints")
    assert len(saved) == 8
    for checkpoint in saved:
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        assert set(manifest["streams"]) == set(STREAMS)
    assert Run(run.path).digests() == run.digests() == run.summary["streams"]


def test_a_branch_has_digests_of_its_own_records(
    trained: Trained, killed: Run, tmp_path: Path, outcome: Outcome
) -> None:
    constant = trained.config_of(schedule={"warmup_steps": 2, "shape": "constant"}, checkpoint={"at": (4,)})
    trunk = train(constant, tmp_path / "trunk")
    shorter = constant.model_copy(
        update={
            "train": constant.train.model_copy(update={"steps": 6}),
            "schedule": constant.schedule.model_copy(update={"shape": "wsd", "cooldown_frac": 0.3}),
        }
    )
    assert fork(trunk.path, shorter, tmp_path / "branch") == 4
    manifest = tmp_path / "branch" / "checkpoints" / "step_000004" / "manifest.json"
    assert json.loads(manifest.read_text())["streams"] == Run(tmp_path / "branch").digests()
    straight = train(shorter, tmp_path / "shorter")
    assert outcome(train(shorter, tmp_path / "branch").path) == outcome(straight.path)


def test_a_branch_leaves_a_damaged_trunk_where_its_records_are_sound(
    trained: Trained, killed: Run, tmp_path: Path
) -> None:
    constant = trained.config_of(schedule={"warmup_steps": 2, "shape": "constant"}, checkpoint={"at": (2, 5)})
    trunk = train(constant, tmp_path / "trunk")
    damage(trunk, "metrics", digit_of_line(4))
    longer = constant.model_copy(update={"train": constant.train.model_copy(update={"steps": 9})})
    said: list[str] = []
    assert fork(trunk.path, longer, tmp_path / "branch", warn=said.append) == 2
    assert any("metrics.jsonl" in line and "branches off at the one before" in line for line in said)
