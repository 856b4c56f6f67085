"""Checkpoints of the public implementations, against their forward passes written out in public_models.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from public_models import (
    TOKENS,
    D,
    H,
    State,
    draw,
    no_rotation,
    nvidia,
    nvidia_shapes,
    replication,
    replication_shapes,
    turned,
    unit_rows,
)
from safetensors.torch import save_file

from ngptlab.cli import main
from ngptlab.export.foreign import IMPLEMENTATIONS
from ngptlab.trained import Trained, open_trained
from ngptlab.verbs import importing

# Float32 in two orders of summation, through six branches: some ten roundings of 6e-8 of logits of a few nats each.
CLOSE = {"rtol": 0.0, "atol": 2e-5}


def imported(state: State, tmp_path: Path, source: str, *options: str, **others: Any) -> Trained:
    """Save as its trainer does, import by the command line, open."""
    path = tmp_path / "state.pt"
    torch.save({"model": {f"_orig_mod.{k}": v for k, v in state.items()}, **others}, path)
    arguments = ["import", str(path), str(tmp_path / "run"), "--from", source, "--allow-pickle", *options]
    assert main(arguments) == 0
    return open_trained(tmp_path / "run")


def test_the_replication_s_normalized_model(tmp_path: Path) -> None:
    state = unit_rows(draw(replication_shapes(True)))
    trained = imported(state, tmp_path, "modded-nanogpt", step=4768, code="print()", optimizer={"state": {}})
    assert (trained.config.method, trained.step) == ("ngpt_modded", 4768)
    assert trained.config.data.source == "text:unknown"
    assert trained.config.data.tokenizer == "unknown", "31 tokens are no GPT-2's"
    expected = replication(state, True)
    torch.testing.assert_close(trained.model(TOKENS), expected, **CLOSE)
    assert expected.std() > 0.2


def test_the_replication_s_baseline(tmp_path: Path) -> None:
    state = draw(replication_shapes(False))
    trained = imported(state, tmp_path, "modded-nanogpt", "--num-heads", str(H))
    assert trained.config.method == "gpt" and trained.config.model.d_ff == int(8 / 3 * D)
    torch.testing.assert_close(trained.model(TOKENS), replication(state, False), **CLOSE)


def test_the_replication_s_mup(tmp_path: Path) -> None:
    state = unit_rows(draw(replication_shapes(True)))
    trained = imported(state, tmp_path, "modded-nanogpt", "--base-width", "8", "--context", "256")
    assert trained.config.train.context == 256 and trained.config.param.rules == "mup"
    torch.testing.assert_close(trained.model(TOKENS), replication(state, True, divisor=2.0), **CLOSE)


@pytest.mark.parametrize("normalized", [True, False])
def test_nvidia_s_layout_with_a_rope_that_turns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], normalized: bool
) -> None:
    state = draw(nvidia_shapes(normalized))
    state = unit_rows(state) if normalized else state
    arguments = {"n_head": H, "n_embd": D, "use_nGPT": int(normalized), "base_scale": 1.0 / D**0.5}
    others = {
        "model_args": arguments,
        "iter_num": 70,
        "rng_state_numpy": np.random.RandomState(0).get_state(),
    }
    # Blocks' matrices are stored in bfloat16 there.
    kept = {name: w.bfloat16() if ".h." in name and w.ndim == 2 else w for name, w in state.items()}
    stored = {name: w.float() for name, w in kept.items()}
    trained = imported(kept, tmp_path, "nvidia-ngpt", **others)
    said = capsys.readouterr().out
    assert "does NOT give the same logits" in said and "issue 10" in said
    assert trained.config.method == ("ngpt" if normalized else "gpt") and trained.step == 70
    ours = trained.model(TOKENS)
    torch.testing.assert_close(
        ours, nvidia(stored, normalized, lambda x: turned(x, "neighbours", 1)), **CLOSE
    )
    # What the note says: the public code's own RoPE is another function.
    assert (ours - nvidia(stored, normalized, no_rotation)).abs().max() > 0.02


def test_safetensors_need_no_leave(tmp_path: Path) -> None:
    state = unit_rows(draw(replication_shapes(True)))
    save_file(state, tmp_path / "state.safetensors")
    arguments = [
        "import",
        str(tmp_path / "state.safetensors"),
        str(tmp_path / "run"),
        "--from",
        "modded-nanogpt",
    ]
    assert main(arguments) == 0
    torch.testing.assert_close(
        open_trained(tmp_path / "run").model(TOKENS), replication(state, True), **CLOSE
    )


class _Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["import", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_a_pickle_is_read_by_leave_only_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out, marker = tmp_path / "state.pt", tmp_path / "run", tmp_path / "marker"
    torch.save({"model": draw(replication_shapes(True)), "more": _Payload(marker)}, path)
    assert "--allow-pickle" in refused(capsys, path, out, "--from", "modded-nanogpt")
    said = refused(capsys, path, out, "--from", "modded-nanogpt", "--allow-pickle")
    assert "getattr would have to be called; nothing was" in said and said.count("\n") == 1
    assert not marker.exists() and not out.exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "the file does nothing at all, so the test showed nothing"


def test_wrong_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "state.pt", tmp_path / "run"

    def said(content: object, *options: str, source: str = "modded-nanogpt") -> str:
        torch.save(content, path)
        return refused(capsys, path, out, "--from", source, "--allow-pickle", *options)

    baseline, normal = draw(replication_shapes(False)), draw(replication_shapes(True))
    assert "give --num-heads" in said(baseline)
    assert "does not divide the width 16" in said(baseline, "--num-heads", "3")
    assert "the checkpoint has 2" in said(normal, "--num-heads", "4")
    assert "holds list" in said([1])
    assert "holds no state dict" in said({"model": {"a": 1}})
    assert "not a checkpoint of modded-nanogpt" in said({"a": torch.ones(2)})
    assert "not a checkpoint of nvidia-ngpt" in said(baseline, "--num-heads", "2", source="nvidia-ngpt")
    short = {**normal, "transformer.h.1.attn.c_q.weight": torch.ones(4)}
    assert "not a checkpoint of modded-nanogpt" in said(short)
    assert "not a checkpoint of modded-nanogpt" in said({**normal, "transformer.wte.weight": torch.ones(4)})
    assert "attn.extra" in said({**normal, "transformer.h.0.attn.extra": torch.ones(2)})
    path.write_bytes(b"nothing")
    assert "damaged" in refused(capsys, path, out, "--from", "modded-nanogpt", "--allow-pickle")
    assert "no such file" in refused(capsys, tmp_path / "none.pt", out, "--from", "modded-nanogpt")
    assert "give --from too" in refused(capsys, path, out, "--num-heads", "2")
    assert not out.exists()


def test_the_command_knows_every_implementation() -> None:
    assert set(importing.IMPLEMENTATIONS) == set(IMPLEMENTATIONS)
