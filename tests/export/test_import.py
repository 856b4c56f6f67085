"""An exported model comes back as a run: bit-equal weights, or an error."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from exported import EXPORTED, TINY
from safetensors.torch import load, save

from ngptlab import CheckpointError, ConfigError, methods
from ngptlab.cli import main
from ngptlab.config import ParamConfig, RunConfig
from ngptlab.experiment import train
from ngptlab.export.imported import import_export
from ngptlab.export.write import export
from ngptlab.trained import Trained, open_trained

MakeTrained = Callable[..., Trained]


def same_weights(a: Trained, b: Trained) -> bool:
    left, right = dict(a.model.named_parameters()), dict(b.model.named_parameters())
    return set(left) == set(right) and all(left[name].equal(right[name]) for name in left)


def rules_for(name: str) -> dict[str, Any]:
    """muP where it knows the method."""
    mup = {"rules": "mup", "base_width": 8}
    try:
        methods.build_model(name, TINY, param=ParamConfig.model_validate(mup))
    except ConfigError:
        return {}
    return mup


@pytest.mark.parametrize(
    ("method", "form"),
    [*((name, "ngptlab") for name in EXPORTED), ("gpt", "llama")],
)
def test_there_and_back(make_trained: MakeTrained, tmp_path: Path, method: str, form: str) -> None:
    # At width 24 and base 8 the divisor is 3: a weight divided by it would not come back bit-equal.
    there = make_trained(method, model=TINY.model_dump(), param=rules_for(method))
    assert main(["export", str(there.run.path), str(tmp_path / "out"), "--as", form]) == 0
    assert main(["import", str(tmp_path / "out"), str(tmp_path / "back")]) == 0
    back = open_trained(tmp_path / "back")
    assert same_weights(there, back)
    assert (back.config, back.step, back.model.parts) == (there.config, there.step, there.model.parts)
    assert back.run.done and back.run.summary["params"] == there.model.num_params()


def test_a_trained_run_keeps_its_origin_and_its_numbers(
    make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    run = train(make_config("ngpt"), tmp_path / "run")
    back = import_export(export(open_trained(run.path), tmp_path / "out"), tmp_path / "back")
    assert back.env == run.env
    assert back.read("evals") == [
        record for record in run.read("evals") if record["step"] == 8 and record["eval"] != "parts"
    ]
    text = (tmp_path / "out" / "README.md").read_text()
    last = [record for record in run.read("evals") if record["eval"] == "val"][-1]
    for fact in (
        f"{last['loss_nats']:.4f} ± {last['stderr_nats']:.4f}",
        f"{last['bits_per_byte']:.4f}",
        run.env["data_digest"],
        run.env["torch"],
        run.config.run_name,
        "positions 0 to 8",
        "trained by ngptlab",
        '"weight_decay": 0.0',
    ):
        assert fact in text, fact
    earlier = export(open_trained(run.path, step=6), tmp_path / "earlier")
    assert "positions" not in (earlier / "README.md").read_text(), "numbers of other weights"
    # An evaluation after training is of more tokens, so it stands in place of the one while training.
    run.keep_eval("val", {**last, "loss_nats": 1.2345, "tokens": 999})
    assert "1.2345" in (export(open_trained(run.path), tmp_path / "again") / "README.md").read_text()
    assert (
        "1.2345" not in (export(open_trained(run.path, step=6), tmp_path / "old") / "README.md").read_text()
    )


def test_what_a_stranger_s_config_says_stays_in_its_place(make_trained: MakeTrained, tmp_path: Path) -> None:
    trained = make_trained("gpt", data={"source": "text:a`|\n---\n# Heading\n```\n<script>"})
    lines = (export(trained, tmp_path / "out") / "README.md").read_text().splitlines()
    assert not {"# Heading", "<script>"} & set(lines) and lines.count("```") == 2
    assert "| data | `text:a'/ --- # Heading ''' <script>` |" in lines


def test_weights_that_changed_are_no_longer_the_run_s(make_trained: MakeTrained, tmp_path: Path) -> None:
    folder = export(make_trained("gpt"), tmp_path / "out")
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="not the weights that were exported"):
        import_export(folder, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_damage_and_wrong_folders_are_named(make_trained: MakeTrained, tmp_path: Path) -> None:
    trained = make_trained("gpt")
    folder = export(trained, tmp_path / "out")
    with pytest.raises(ConfigError, match="is there and not empty"):
        export(trained, folder)
    with pytest.raises(ConfigError, match=r"holds no ngptlab\.json"):
        import_export(trained.run.path, tmp_path / "back")
    facts = json.loads((folder / "ngptlab.json").read_text())
    for change, message in (
        ({"format": 2}, "format 2, this version reads 1"),
        ({"step": "8"}, "step is '8'"),
        ({"step": -1}, "step is -1"),
        ({"measured": 5}, "measured is 5"),
        ({"measured": [{"eval": "val"}]}, "measured is "),
        ({"measured": [{"eval": ["val"], "step": 8}]}, "measured is "),
        ({"measured": ["val"]}, "measured is "),
        ({"config_hash": "0" * 8}, "not 00000000"),
        ({"config": {**facts["config"], "novelty": 1}}, "novelty is not a field"),
    ):
        (folder / "ngptlab.json").write_text(json.dumps({**facts, **change}))
        with pytest.raises((CheckpointError, ConfigError), match=message):
            import_export(folder, tmp_path / "back")
    for text in ("{", "[" * 100_000, "5", '{"format": NaN}'):
        (folder / "ngptlab.json").write_text(text)
        with pytest.raises(CheckpointError, match="damaged"):
            import_export(folder, tmp_path / "back")
    (folder / "ngptlab.json").write_text(json.dumps(facts))
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="a FIFO"):
        import_export(folder, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_stranger_s_numbers_are_numbers_or_named(make_trained: MakeTrained, tmp_path: Path) -> None:
    folder = export(make_trained("gpt"), tmp_path / "out")
    facts = json.loads((folder / "ngptlab.json").read_text())
    for number, (name, fields) in enumerate(
        [("val", {"tokens": "| x |"}), ("val", {}), ("length", {"documents": 1, "bins": []})]
    ):
        facts["measured"] = [{"eval": name, "step": facts["step"], **fields}]
        (folder / "ngptlab.json").write_text(json.dumps(facts))
        back = import_export(folder, tmp_path / f"back-{number}")
        with pytest.raises(CheckpointError, match=f"evaluation '{name}' is damaged"):
            export(open_trained(back.path), tmp_path / f"again-{number}")


def test_a_run_that_is_there_is_not_touched(make_trained: MakeTrained, tmp_path: Path) -> None:
    """Even one of the same config: its checkpoints are another training's."""
    trained = make_trained("gpt")
    folder = export(trained, tmp_path / "out")
    before = {path: path.read_bytes() for path in trained.run.path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="give a new run directory"):
        import_export(folder, trained.run.path)
    assert before == {path: path.read_bytes() for path in trained.run.path.rglob("*") if path.is_file()}


def test_an_export_that_cannot_be_written_leaves_nothing(make_trained: MakeTrained, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="can't be written"):
        export(make_trained("gpt"), tmp_path / "file" / "out")
    small = {"vocab_size": 200, "num_layers": 1, "num_heads": 2, "d_model": 16}
    with pytest.raises(ValueError, match="the model's vocabulary is 200"):
        export(make_trained("gpt", model=small, name="small"), tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*.tmp"))


def test_what_a_folder_s_files_say_is_checked_or_named(
    make_trained: MakeTrained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`transformers` computes by config.json, an import by the run's config: they must agree."""
    for form, changes in (
        (
            "ngptlab",
            {"num_layers": 3, "param": {"rules": "mup", "base_width": 8}, "max_position_embeddings": 1},
        ),
        ("llama", {"rope_parameters": {"rope_theta": 5e5}, "rms_norm_eps": 1e-3, "num_key_value_heads": 1}),
    ):
        folder = export(make_trained("gpt", name=form), tmp_path / f"{form}-out", form)
        path = folder / "config.json"
        sound = json.loads(path.read_text())
        for name, value in changes.items():
            path.write_text(json.dumps(sound | {name: value}))
            with pytest.raises(CheckpointError, match=f"{name} is not what was exported"):
                import_export(folder, tmp_path / "back")
        path.write_text("[" * 100_000)
        with pytest.raises(CheckpointError, match="damaged"):
            import_export(folder, tmp_path / "back")
        assert not (tmp_path / "back").exists()
        path.write_text(json.dumps(sound | {"transformers_version": "5", "novelty": 1}))
        facts = json.loads((folder / "ngptlab.json").read_text())
        (folder / "ngptlab.json").write_text(json.dumps(facts | {"mood": "good"}))
        assert main(["import", str(folder), str(tmp_path / f"{form}-back")]) == 0
        assert "not known here and left out: novelty, mood of ngptlab.json" in capsys.readouterr().out
        path.unlink()
        assert main(["import", str(folder), str(tmp_path / f"{form}-again")]) == 0


def test_config_json_of_another_version_is_read_by_what_it_says(
    make_trained: MakeTrained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = export(make_trained("ngpt"), tmp_path / "out") / "config.json"
    sound = json.loads(path.read_text())
    residual = sound["parts"]["residual"]
    older = {name: value for name, value in residual.items() if name != "depth_power"}
    param = {name: value for name, value in sound["param"].items() if name != "base_tokens"}
    path.write_text(
        json.dumps(sound | {"parts": sound["parts"] | {"residual": older}, "param": param, "auto_map": {}})
    )
    assert main(["import", str(path.parent), str(tmp_path / "older")]) == 0
    assert "left out" not in capsys.readouterr().out
    path.write_text(json.dumps(sound | {"parts": sound["parts"] | {"novelty": None}}))
    assert main(["import", str(path.parent), str(tmp_path / "newer")]) == 0
    assert "left out: parts (parts: given" in capsys.readouterr().out
    path.write_text(
        json.dumps(sound | {"parts": sound["parts"] | {"residual": residual | {"alpha_init": 0.1}}})
    )
    assert main(["import", str(path.parent), str(tmp_path / "other")]) == 2
    assert "parts is not what was exported" in capsys.readouterr().err


def test_a_llama_s_gains_and_other_tensors_are_not_dropped(make_trained: MakeTrained, tmp_path: Path) -> None:
    folder = export(make_trained("gpt"), tmp_path / "out", "llama")
    facts = json.loads((folder / "ngptlab.json").read_text())
    sound = load((folder / "model.safetensors").read_bytes())
    gain = "model.layers.1.input_layernorm.weight"
    for change in ({gain: 2 * sound[gain]}, {"model.layers.0.self_attn.q_proj.bias": torch.ones(16)}):
        content = save(sound | change)
        (folder / "model.safetensors").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        (folder / "ngptlab.json").write_text(json.dumps(facts | {"weights_sha256": digest}))
        with pytest.raises(CheckpointError, match=f"{next(iter(change))} is not what was exported"):
            import_export(folder, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_where_weights_came_from_first_is_not_forgotten(make_trained: MakeTrained, tmp_path: Path) -> None:
    folder = export(make_trained("gpt"), tmp_path / "out")
    back = import_export(folder, tmp_path / "back")
    assert back.summary["imported_from"] == "ngptlab export of a test"
    facts = json.loads((folder / "ngptlab.json").read_text())
    for change, message in (
        ({"imported_from": [1]}, "imported_from is"),
        ({"params": 1}, "params is 1, it has"),
        ({"form": "onnx"}, "form is 'onnx'"),
    ):
        (folder / "ngptlab.json").write_text(json.dumps({**facts, **change}))
        with pytest.raises(CheckpointError, match=message):
            import_export(folder, tmp_path / "no")
