"""Exported models in transformers, in a process that has no ngptlab: one for all, which also loads several side by side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from exported import EXPORTED, OF_ONE_VOCABULARY
from safetensors.torch import save_file

from distinct import MODELS
from ngptlab import ConfigError, methods
from ngptlab.export.write import export
from ngptlab.trained import Trained

pytestmark = pytest.mark.extra

MakeTrained = Callable[..., Trained]
CHECKS = Path(__file__).with_name("loaded_elsewhere.py")

TOMORROW = '''"""A method written tomorrow: a capped gate of its own, with a setting, and a soft cap on the logits.

Source: none; it is here to be carried.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ngptlab import Dims, Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, Gate, HeadWidthPower, Logits, RMSNorm, Rotate, Scale


@dataclass(frozen=True)
class CappedGate:
    """u * min(relu(v), cap) s_u."""

    cap: float
    name: str = "capped"

    def build(self, dims: Dims) -> Gate:
        return _CappedGate(dims, self.cap)


class _CappedGate(Gate):
    def __init__(self, dims: Dims, cap: float) -> None:
        super().__init__()
        self.cap = cap
        self.s_u = Scale(dims.d_ff, init=1.0, scale=1.0)

    def forward(self, u_BTF: Tensor, v_BTF: Tensor) -> Tensor:
        return u_BTF * F.relu(v_BTF).clamp_max(self.cap) * self.s_u.effective()


@dataclass(frozen=True)
class SoftCap:
    """3 tanh(z / 3)."""

    def build(self, dims: Dims) -> Logits:
        return _SoftCap()


class _SoftCap(Logits):
    def forward(self, z: Tensor) -> Tensor:
        return 3 * (z / 3).tanh()


METHOD = Parts(
    norm=RMSNorm(),
    after_step=FreeWeights(),
    residual=Add(),
    attn_scale=HeadWidthPower(-0.5),
    qk=Rotate(),
    gate=CappedGate(cap=0.7),
    logits=SoftCap(),
    weight_decay=0.1,
    warmup_steps=200,
    optimizer=AdamW(),
)
'''


@pytest.fixture
def tomorrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "more_methods"
    folder.mkdir()
    (folder / "tomorrow.py").write_text(TOMORROW)
    monkeypatch.setattr(methods, "__path__", [str(folder), *methods.__path__])
    # path() gives the file in the first folder only.
    for path in Path(methods.__path__[-1]).glob("*.py"):
        (folder / path.name).write_text(path.read_text())
    return "tomorrow"


def save_reference(trained: Trained, path: Path) -> None:
    """Logits of a batch, and its loss by transformers' convention: the first three labels of the first row are ignored."""
    tokens_BT = torch.arange(2 * 24).view(2, 24) * 7 % 257
    logits_BTV = trained.model(tokens_BT)
    losses_BT = torch.nn.functional.cross_entropy(
        logits_BTV[:, :-1].transpose(1, 2), tokens_BT[:, 1:], reduction="none"
    )
    loss = (losses_BT.sum() - losses_BT[0, :2].sum()) / (losses_BT.numel() - 2)
    save_file({"tokens": tokens_BT, "logits": logits_BTV.contiguous(), "loss": loss}, path)


def without_ngptlab(folder: Path) -> str:
    """Run the checks on every exported folder in `folder`; what they print."""
    home = folder.parent / "hf"
    environment = {
        **os.environ,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": "",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(CHECKS), str(folder)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,  # a question about trust would wait for an answer
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(1000)
def test_every_method_loads_computes_and_writes(
    make_trained: MakeTrained, tomorrow: str, tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    folder = tmp_path / "exports"
    folder.mkdir()
    models = {name: make_trained(name) for name in [*EXPORTED, tomorrow]}
    models["mixture"] = make_trained("gpt", seams={"qk": "ngpt_modded", "gate": tomorrow}, name="mixture")
    models["mup"] = make_trained("qk_norm", param={"rules": "mup", "base_width": 8}, name="mup")
    models["nugpt"] = make_trained("ngpt", param={"rules": "nugpt", "base_width": 8}, name="nugpt")
    for name, trained in models.items():
        # A folder's name is what a run's name may be: not an identifier.
        export(trained, folder / f"demo-{name}+x.qk-s0")
        save_reference(trained, folder / f"demo-{name}+x.qk-s0" / "reference.safetensors")
        if name in OF_ONE_VOCABULARY:
            (folder / f"demo-{name}+x.qk-s0" / "of-one-vocabulary").touch()
        if name in set(EXPORTED) - set(MODELS):
            (folder / f"demo-{name}+x.qk-s0" / "computes-as-another").touch()
    said = without_ngptlab(folder)
    assert said.count(": all is well") == len(models) and said.count(": saved and loaded") == 2


def test_in_this_package_no_code_has_to_be_trusted(make_trained: MakeTrained, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    import ngptlab.export.hf

    trained = make_trained("ngpt", param={"rules": "nugpt", "base_width": 8})
    folder = export(trained, tmp_path / "out")
    for path in folder.glob("*.py"):
        path.write_text("raise AssertionError('code of the folder was run')")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert type(model) is ngptlab.export.hf.NgptlabForCausalLM
    tokens = torch.arange(20)[None]
    assert model(tokens).logits.equal(trained.model(tokens))
    model.save_pretrained(tmp_path / "again")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    assert again(tokens).logits.equal(trained.model(tokens))


def test_a_hostile_config_is_refused(make_trained: MakeTrained, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    import ngptlab.export.hf  # noqa: F401

    folder = export(make_trained("gpt"), tmp_path / "out")
    config = json.loads((folder / "config.json").read_text())
    for change, message in (
        ({"parts": {**config["parts"], "norm": {"part": "os.system"}}}, "no part is named 'os.system'"),
        ({"d_model": "16"}, "of the kind int"),
        ({"param": {"rules": "sp", "base_width": 0, "code": "x"}}, "'code' is not a field"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(ConfigError, match=message):
            transformers.AutoModelForCausalLM.from_pretrained(folder)


def test_weights_that_no_file_gives_are_drawn_and_those_of_a_file_stay(
    make_trained: MakeTrained, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    from safetensors.torch import load_file

    import ngptlab.export.hf  # noqa: F401

    trained = make_trained("ngpt")
    folder = export(trained, tmp_path / "out")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.E_out"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).model
    assert all(w.equal(tensors[f"model.{name}"]) for name, w in model.named_parameters() if name != "E_out")
    assert model.E_out.isfinite().all() and 0.01 < model.E_out.std() < 1
    fresh = transformers.AutoModelForCausalLM.from_config(model_config(folder))
    assert fresh.model.E_in.isfinite().all() and fresh.model.E_in.std() > 0.01


def model_config(folder: Path) -> object:
    import transformers

    return transformers.AutoConfig.from_pretrained(folder)


def test_what_it_does_not_give_is_said(make_trained: MakeTrained, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    import ngptlab.export.hf  # noqa: F401

    model = transformers.AutoModelForCausalLM.from_pretrained(export(make_trained("gpt"), tmp_path / "out"))
    tokens = torch.arange(8)[None]
    for asked in ({"output_hidden_states": True}, {"output_attentions": True}):
        with pytest.raises(ConfigError, match="this model has none"):
            model(tokens, **asked)
    # transformers has renamed this argument once. A cache under yet another name must not be passed over in silence.
    with pytest.raises(ConfigError, match="memory: this model takes a cache"):
        model(tokens, memory=transformers.DynamicCache())
    with pytest.raises(ConfigError, match=r"attention_mask: given the shape \[1, 1, 8, 8\]"):
        model(tokens, attention_mask=torch.ones(1, 1, 8, 8))
    with pytest.raises(ConfigError, match="static caches"):
        model.generate(tokens, max_new_tokens=2, do_sample=False, cache_implementation="static")


def test_padding_meets_itself_and_nobody_meets_padding() -> None:
    """A row of scores that are all masked is NaN in some kernels, and NaN times a weight of zero is NaN."""
    pytest.importorskip("transformers")
    from ngptlab.export.past import padded_layout

    layout = padded_layout(torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]]), 3)
    assert layout.positions_BT.tolist() == [[0, 0, 1], [1, 2, 2]]
    assert layout.meets_BTS.int().tolist() == [
        [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]],
        [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]],
    ]


def test_gradients_reach_every_weight(make_trained: MakeTrained, tmp_path: Path) -> None:
    """Fine-tuning, of padded batches too."""
    transformers = pytest.importorskip("transformers")
    import ngptlab.export.hf  # noqa: F401

    model = transformers.AutoModelForCausalLM.from_pretrained(export(make_trained("ngpt"), tmp_path / "out"))
    tokens = torch.arange(16).view(2, 8)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1], [1] * 8])
    for attention_mask in (None, mask):
        model.zero_grad()
        labels = tokens if attention_mask is None else tokens.masked_fill(attention_mask == 0, -100)
        model(tokens, attention_mask=attention_mask, labels=labels).loss.backward()
        assert all(w.grad is not None and w.grad.isfinite().all() for w in model.parameters())
        assert all(w.grad.abs().sum() > 0 for w in model.parameters())
