"""What a foreign checkpoint says beside its weights is used, refused or named: nothing of it is dropped silently."""

from __future__ import annotations

import collections
import dataclasses
import sys
import types
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from public_models import (
    TOKENS,
    D,
    H,
    L,
    State,
    V,
    draw,
    nvidia,
    nvidia_shapes,
    replication,
    replication_shapes,
    turned,
    unit_rows,
)
from safetensors.torch import save_file

from ngptlab.cli import main
from ngptlab.trained import Trained, open_trained

# As in test_foreign.py.
CLOSE = {"rtol": 0.0, "atol": 2e-5}
ARGUMENTS = {
    "use_nGPT": 1,
    "n_layer": L,
    "n_head": H,
    "n_embd": D,
    "block_size": 32,
    "base_scale": 1.0 / D**0.5,
    "bias": False,
    "vocab_size": V,
    "dropout": 0.0,
}
"""As NVIDIA's train.py has them."""
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes an object of a class `model.GPTConfig`, which can be saved inside of a test, and read by no import."""

    def make(**fields: Any) -> Any:
        kind = dataclasses.make_dataclass("GPTConfig", fields)
        kind.__module__ = "model"
        module = types.ModuleType("model")
        module.GPTConfig = kind  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "model", module)
        return kind(**fields)

    return make


def at_scale(state: State, base_scale: float) -> State:
    """What a training with this base_scale stores for the effective values that train.py's own would have."""
    ends = ("sz", "sqk", "attn_alpha", "mlp_alpha")
    return {name: w * (base_scale * D**0.5) if name.endswith(ends) else w for name, w in state.items()}


def checkpoint(state: State, prefix: str = "", **others: Any) -> dict[str, Any]:
    return {"model": collections.OrderedDict((prefix + name, w) for name, w in state.items()), **others}


def imported(content: Any, tmp_path: Path, *options: str, source: str = "nvidia-ngpt") -> Trained:
    path, run = tmp_path / "ckpt.pt", tmp_path / "run"
    torch.save(content, path)
    sys.modules.pop("model", None)
    assert main(["import", str(path), str(run), "--from", source, "--allow-pickle", *options]) == 0
    return open_trained(run)


def refused(
    content: Any, tmp_path: Path, capsys: Captured, *options: str, source: str = "nvidia-ngpt"
) -> str:
    path = tmp_path / "ckpt.pt"
    torch.save(content, path)
    sys.modules.pop("model", None)
    assert (
        main(["import", str(path), str(tmp_path / "no"), "--from", source, "--allow-pickle", *options]) == 2
    )
    assert not (tmp_path / "no").exists()
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and text.strip().isprintable()
    return text


@pytest.fixture(scope="module")
def normalized() -> State:
    return unit_rows(draw(nvidia_shapes(True)))


@pytest.mark.parametrize("base_scale", [1 / 32, 1.0 / D**0.5, 0.02, 1.0])
def test_a_checkpoint_as_nvidia_s_train_py_writes_it(
    tmp_path: Path, capsys: Captured, record: Callable[..., Any], normalized: State, base_scale: float
) -> None:
    """train.py rebinds `config` to the model's, an object of its own class, before it saves."""
    arguments, state = ARGUMENTS | {"base_scale": base_scale}, at_scale(normalized, base_scale)
    content = checkpoint(
        state,
        optimizer={"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
        model_args=arguments,
        iter_num=70,
        config=record(**arguments),
        rng_state_pytorch_bytes=torch.get_rng_state().numpy().tobytes(),
        rng_state_numpy=np.random.RandomState(0).get_state(),
    )
    trained = imported(content, tmp_path)
    assert "model" not in sys.modules
    assert (trained.step, trained.config.train.context, trained.config.method) == (70, 32, "ngpt")
    expected = nvidia(state, True, lambda x: turned(x, "neighbours", 1), base_scale)
    torch.testing.assert_close(trained.model(TOKENS), expected, **CLOSE)
    said = capsys.readouterr().out
    assert (
        f"base_scale {base_scale}" in said
        and "block_size 32" in said
        and f"n_head {H}" in said
        and "iter_num 70" in said
    )
    effectless = next(line for line in said.splitlines() if "without effect" in line)
    names = {"dropout", "optimizer", "rng_state_pytorch_bytes", "rng_state_numpy"}
    assert set(effectless.partition(": ")[2].partition(": ")[2].split(", ")) == names
    assert "not known" not in said and ("multiplied" in said) == (base_scale != 1.0 / D**0.5)


def test_scales_of_train_py_s_base_scale_are_bit_equal(tmp_path: Path, normalized: State) -> None:
    trained = imported(checkpoint(normalized, model_args=ARGUMENTS), tmp_path)
    stored = dict(trained.model.named_parameters())
    assert stored["logits_map.s_z.stored"].equal(normalized["sz"])
    assert stored["blocks.1.mlp_residual.alpha.stored"].equal(normalized["transformer.h.1.mlp_alpha"])


def test_base_scale_of_the_baseline_is_named_as_without_effect(tmp_path: Path, capsys: Captured) -> None:
    state = draw(nvidia_shapes(False))
    arguments = ARGUMENTS | {"use_nGPT": 0, "base_scale": 0.02}
    trained = imported(checkpoint(state, model_args=arguments), tmp_path)
    expected = nvidia(state, False, lambda x: turned(x, "neighbours", 1))
    torch.testing.assert_close(trained.model(TOKENS), expected, **CLOSE)
    said = capsys.readouterr().out
    assert "without effect on the logits: dropout, base_scale" in said and "norms add 1e-6" in said


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "_fsdp_wrapped_module."]
)
def test_what_wrappers_put_before_names_is_stripped(tmp_path: Path, normalized: State, prefix: str) -> None:
    inside = {name.replace("h.1.", "h.1._orig_mod."): w for name, w in normalized.items()}
    trained = imported(checkpoint(inside, prefix, model_args=ARGUMENTS), tmp_path)
    expected = nvidia(normalized, True, lambda x: turned(x, "neighbours", 1))
    torch.testing.assert_close(trained.model(TOKENS), expected, **CLOSE)


def test_prefixes_are_stripped_from_safetensors_and_the_replication_s_too(tmp_path: Path) -> None:
    state = unit_rows(draw(replication_shapes(True)))
    save_file({f"module._orig_mod.{k}": v for k, v in state.items()}, tmp_path / "state.safetensors")
    arguments = ["import", str(tmp_path / "state.safetensors"), str(tmp_path / "run")]
    assert main([*arguments, "--from", "modded-nanogpt"]) == 0
    torch.testing.assert_close(
        open_trained(tmp_path / "run").model(TOKENS), replication(state, True), **CLOSE
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_layer": L + 1}, f"model_args.n_layer is {L + 1}, its tensors say {L}"),
        ({"vocab_size": 50304}, f"model_args.vocab_size is 50304, its tensors say {V}"),
        ({"n_embd": 1024}, f"model_args.n_embd is 1024, its tensors say {D}"),
        ({"use_nGPT": 0}, "model_args.use_nGPT is 0, its tensors say True"),
        ({"bias": True}, "has biases (model_args.bias)"),
        ({"n_head": 3}, "does not divide the width 16"),
        ({"n_head": 0}, "model_args.n_head is 0; allowed is a whole number from 1 on"),
        ({"n_head": True}, "model_args.n_head is True; allowed is"),
        ({"n_head": None}, "model_args.n_head is None; allowed is"),
        ({"block_size": 32.0}, "model_args.block_size is 32.0; allowed is"),
        ({"block_size": 10**400}, "model_args.block_size is a very large number; allowed is"),
        ({"base_scale": 0.0}, "model_args.base_scale is 0.0; allowed is a number above 0"),
        ({"base_scale": -0.25}, "model_args.base_scale is -0.25; allowed is"),
        ({"base_scale": float("nan")}, "model_args.base_scale is nan; allowed is"),
        ({"base_scale": torch.ones(2)}, "model_args.base_scale is a Tensor; allowed is"),
        ({"base_scale": 1e-300}, "not finite"),
        ({"dropout": "much"}, "model_args.dropout is much; allowed is"),
        ({"use_nGPT": 2}, "model_args.use_nGPT is 2; allowed is true or false"),
        (
            {"rope_base": 5e5},
            "model_args.rope_base is 500000.0, and what it does to the model is not known here",
        ),
        ({"\x1b[31mred": 1}, r"model_args.\x1b[31mred is 1"),
        ({7: 1}, "model_args.7 is 1"),
    ],
)
def test_a_field_that_is_wrong_or_not_known_is_named(
    tmp_path: Path, capsys: Captured, normalized: State, change: dict[Any, Any], said: str
) -> None:
    assert said in refused(checkpoint(normalized, model_args=ARGUMENTS | change), tmp_path, capsys)


def test_what_is_said_twice_must_be_said_alike(
    tmp_path: Path, capsys: Captured, record: Callable[..., Any], normalized: State
) -> None:
    content = checkpoint(normalized, model_args=ARGUMENTS, config=record(**ARGUMENTS | {"base_scale": 0.5}))
    said = refused(content, tmp_path, capsys)
    assert "contradicts itself: config.base_scale is 0.5, model_args.base_scale is 0.25" in said
    said = refused(checkpoint(normalized, model_args=ARGUMENTS, step=3, iter_num=4), tmp_path, capsys)
    assert "contradicts itself: step is 3, iter_num is 4" in said
    for step in (-1, True, "ten", 2.5, 10**30):
        said = refused(checkpoint(normalized, model_args=ARGUMENTS, iter_num=step), tmp_path, capsys)
        assert "allowed is a whole number from 0 on" in said
    for name, value in (("num-heads", "4"), ("context", "64"), ("base-scale", "0.5")):
        said = refused(checkpoint(normalized, model_args=ARGUMENTS), tmp_path, capsys, f"--{name}", value)
        assert f"--{name} {value}: the checkpoint has" in said
    said = refused(checkpoint(normalized, model_args=ARGUMENTS), tmp_path, capsys, "--base-width", "8")
    assert "has no muP" in said
    same = ("--num-heads", str(H), "--context", "32", "--base-scale", "0.25")
    assert imported(checkpoint(normalized, model_args=ARGUMENTS), tmp_path, *same).step == 1


def test_without_base_scale_there_is_no_guess(tmp_path: Path, capsys: Captured, normalized: State) -> None:
    """train.py and `GPTConfig` have different defaults at any width but 1024, and weights don't tell which."""
    arguments = {name: value for name, value in ARGUMENTS.items() if name != "base_scale"}
    for content in (checkpoint(normalized, model_args=arguments), normalized):
        said = refused(content, tmp_path, capsys, "--num-heads", str(H))
        assert "0.25 here" in said and "0.03125; give --base-scale" in said
    options = ("--num-heads", str(H), "--base-scale", "0.03125")
    state = at_scale(normalized, 1 / 32)
    trained = imported(state, tmp_path, *options)
    expected = nvidia(state, True, lambda x: turned(x, "neighbours", 1), 1 / 32)
    torch.testing.assert_close(trained.model(TOKENS), expected, **CLOSE)
    assert "context: 1024 tokens are assumed" in capsys.readouterr().out


def test_config_alone_is_used_whatever_class_it_is_of(
    tmp_path: Path, capsys: Captured, record: Callable[..., Any], normalized: State
) -> None:
    said = refused(checkpoint(normalized, config=record(**ARGUMENTS, softcap=30)), tmp_path, capsys)
    assert "config.softcap is 30, and what it does to the model is not known" in said
    settings = {"learning_rate": 1e-3, "dataset": "openwebtext"}
    for number, config in enumerate(
        (record(**ARGUMENTS), ARGUMENTS | settings, Namespace(**ARGUMENTS, **settings))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        trained = imported(checkpoint(normalized, config=config), folder)
        assert trained.config.train.context == 32
        out = capsys.readouterr().out
        assert ("left out: config.learning_rate, config.dataset" in out) == (number > 0)
    odd = collections.namedtuple("Odd", "a")
    odd.__module__ = "model"
    record()  # puts the module there
    sys.modules["model"].Odd = odd  # type: ignore[attr-defined]
    assert "config is a model.Odd, not fields by name" in refused(
        checkpoint(normalized, config=odd(1)), tmp_path, capsys
    )


def test_a_training_s_settings_beside_model_args_are_not_the_model_s(
    tmp_path: Path, capsys: Captured, normalized: State
) -> None:
    """A resumed training takes the model from its checkpoint, whatever its command line says."""
    content = checkpoint(normalized, model_args=ARGUMENTS, config={"n_layer": 99, "block_size": 8}, ema=[1])
    assert imported(content, tmp_path).config.train.context == 32
    out = capsys.readouterr().out
    assert "config (the training's settings)" in out and "not known here and left out: ema" in out


def test_the_replication_s_width_multiple_is_used(
    tmp_path: Path, capsys: Captured, record: Callable[..., Any]
) -> None:
    state = unit_rows(draw(replication_shapes(True)))
    fields = {"vocab_size": V, "n_layer": L, "n_head": H, "n_embd": D}

    def content(**more: Any) -> dict[str, Any]:
        return checkpoint(state, "_orig_mod.", config=record(**fields, **more), step=9, code="print()")

    def refusal(content: Any, *options: str) -> str:
        return refused(content, tmp_path, capsys, *options, source="modded-nanogpt")

    assert "contradicts itself: config.n_head is 4" in refusal(
        content() | {"config": record(**fields | {"n_head": 4})}
    )
    assert "config.block_size is 8, and what it does" in refusal(content(block_size=8))
    assert "16 over it is no whole width" in refusal(content(mup_width_mult=3.0))
    assert "--base-width 4: the checkpoint has 8" in refusal(content(mup_width_mult=2.0), "--base-width", "4")
    assert "--base-scale: is for" in refusal(content(), "--base-scale", "1")
    trained = imported(content(mup_width_mult=2.0), tmp_path, source="modded-nanogpt")
    assert trained.config.param.base_width == 8
    torch.testing.assert_close(trained.model(TOKENS), replication(state, True, divisor=2.0), **CLOSE)
    assert "mup_width_mult 2.0" in capsys.readouterr().out


def test_state_dicts_that_are_none_are_named(
    tmp_path: Path, capsys: Captured, record: Callable[..., Any], normalized: State
) -> None:
    def said(**change: Any) -> str:
        return refused(checkpoint(normalized | change, model_args=ARGUMENTS), tmp_path, capsys)

    assert "sz is no plain tensor of floating-point numbers" in said(sz=torch.ones(V, dtype=torch.int64))
    assert "sz is no plain tensor" in said(sz=torch.ones(V, device="meta"))
    assert "sz is no plain tensor" in said(sz=torch.ones(1).expand(V))
    assert "sz is no plain tensor" in said(sz=torch.ones(V).to_sparse())
    assert "sz is no plain tensor" in said(sz=torch.ones(V, dtype=torch.complex64))
    shared = torch.ones(V, 100 * D)
    assert "share their numbers" in said(**{f"more.{number}": shared for number in range(9)})
    assert "holds sz twice, wrapped and not" in said(**{"module.sz": torch.ones(V)})
    assert "logits_map.s_z.stored holds numbers that are not finite" in said(sz=torch.full((V,), torch.nan))
    assert "has biases (transformer.h.0.key.bias)" in said(**{"transformer.h.0.key.bias": torch.ones(D)})
    for shape in ((1,), (), (3, 3, 3), (0,)):
        for name in (
            "transformer.h.0.suv",
            "transformer.h.0.c_fc.weight",
            "transformer.h.0.query.weight",
            "sz",
        ):
            assert "not a checkpoint of nvidia-ngpt" in said(**{name: torch.ones(shape)})
    config = record(**ARGUMENTS)
    assert "'model' is a model.GPTConfig, not a state dict; save its" in refused(
        {"model": config}, tmp_path, capsys
    )
    assert "holds a model.GPTConfig, a checkpoint is a dict" in refused(record(**ARGUMENTS), tmp_path, capsys)
    assert "holds no state dict" in refused({"model": {}}, tmp_path, capsys)
    assert "(3 is a tensor of float32, (2,))" in refused({"model": {3: torch.ones(2)}}, tmp_path, capsys)


def test_other_kinds_of_files_are_named(tmp_path: Path, capsys: Captured) -> None:
    for path, said in ((tmp_path, "a folder"), (Path("/dev/zero"), "a device")):
        assert main(["import", str(path), str(tmp_path / "run"), "--from", "nvidia-ngpt"]) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "a.safetensors").write_bytes(b"nothing at all")
    assert main(["import", str(tmp_path / "a.safetensors"), "run", "--from", "nvidia-ngpt"]) == 2
    assert "can't be read" in capsys.readouterr().err
