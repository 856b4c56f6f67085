"""What people do with an exported model in transformers: half precision, its trainer, and a vocabulary of another size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from exported import EXPORTED, OF_ONE_VOCABULARY

from distinct import MODELS
from ngptlab import ConfigError, methods
from ngptlab.export.write import export
from ngptlab.nn.parts import UnitWeights
from ngptlab.trained import Trained

pytestmark = pytest.mark.extra

MakeTrained = Callable[..., Trained]
TOKENS = (torch.arange(48) * 7 % 257).view(2, 24)
every_method = pytest.mark.parametrize("method", [name for name in MODELS if name in EXPORTED])


@pytest.fixture
def load(make_trained: MakeTrained, tmp_path: Path) -> Callable[..., Any]:
    """An exported model of a method, which is trained enough to be on its sphere."""
    transformers = pytest.importorskip("transformers")
    import ngptlab.export.hf  # noqa: F401

    def loaded(method: str, param: dict[str, Any] | None = None, **how: Any) -> Any:
        out = tmp_path / "out"
        if not out.exists():
            trained = make_trained(method, **({"param": param} if param else {}))
            trained.model.after_step()
            export(trained, out)
        return transformers.AutoModelForCausalLM.from_pretrained(out, **how)

    return loaded


def again(model: Any, tmp_path: Path) -> Any:
    import transformers

    model.save_pretrained(tmp_path / "saved")
    return transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
@every_method
def test_every_dtype(method: str, dtype: str, load: Callable[..., Any], tmp_path: Path) -> None:
    exact = load(method)(TOKENS).logits
    model = load(method, dtype=getattr(torch, dtype))
    found = model(TOKENS, labels=TOKENS)
    # The reasons are those of tests/conformance/test_half.py, for scales that are half off.
    limit = {"bfloat16": 0.06, "float16": 0.0075, "float64": 1e-5}[dtype]
    assert 0 < (found.logits - exact).norm() < limit * exact.norm()
    found.loss.backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
    new = {"max_new_tokens": 8, "do_sample": False, "attention_mask": torch.ones(2, 7)}
    cached, plain = (model.generate(TOKENS[:, :7], use_cache=use, **new) for use in (True, False))
    assert cached.equal(plain) and cached.shape == (2, 15)
    saved = again(model, tmp_path)
    assert saved.dtype == getattr(torch, dtype) and saved(TOKENS).logits.equal(model(TOKENS).logits)


@every_method
def test_padded_batches_under_autocast(method: str, load: Callable[..., Any]) -> None:
    model = load(method)
    mask = (torch.arange(24) >= torch.tensor([[3], [0]])).long()
    exact = model(TOKENS, attention_mask=mask).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(TOKENS, attention_mask=mask, labels=TOKENS.masked_fill(mask == 0, -100))
    assert (found.logits - exact)[mask == 1].norm() < 0.06 * exact[mask == 1].norm()
    found.loss.backward()
    assert all(w.grad.isfinite().all() and w.grad.dtype == torch.float32 for w in model.parameters())


class Rows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, at: int) -> dict[str, torch.Tensor]:
        row = (torch.arange(16) * 7 + at) % 257
        return {"input_ids": row, "labels": row, "attention_mask": torch.ones_like(row)}


@pytest.mark.filterwarnings("ignore")
@every_method
def test_the_trainer_of_transformers_in_bfloat16(
    method: str, load: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("accelerate")
    from transformers import Trainer, TrainingArguments

    model = load(method)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "trainer"),
        bf16=True,
        use_cpu=True,
        max_steps=2,
        learning_rate=1e-3,
        per_device_train_batch_size=4,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = Trainer(model, arguments, train_dataset=Rows())
    assert trainer.train().global_step == 2
    for name, weight in model.named_parameters():
        assert weight.dtype == torch.float32 and weight.isfinite().all() and not weight.equal(before[name])


@pytest.mark.parametrize(
    ("asked", "multiple", "mean", "size", "suppressed"),
    [
        (270, None, True, 270, None),
        (265, None, False, 265, None),
        (259, None, True, 259, None),
        (260, 8, True, 264, [260, 261, 262, 263]),
        (None, 16, True, 272, list(range(257, 272))),
    ],
)
@every_method
def test_a_vocabulary_of_another_size(
    method: str,
    asked: int | None,
    multiple: int | None,
    mean: bool,
    size: int,
    suppressed: list[int] | None,
    load: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """Known tokens keep their logits; new ones are as the method has them; the config follows, and generation."""
    model = load(method)
    assert model.generation_config.suppress_tokens == list(range(257, 263))
    if method in OF_ONE_VOCABULARY:
        with pytest.raises(ConfigError, match=OF_ONE_VOCABULARY[method]):
            model.resize_token_embeddings(asked, pad_to_multiple_of=multiple, mean_resizing=mean)
        assert len(model.model.E_in) == model.config.vocab_size == 263
        return
    exact, old = model(TOKENS).logits, {n: w.detach().clone() for n, w in model.named_parameters()}
    found = model.resize_token_embeddings(asked, pad_to_multiple_of=multiple, mean_resizing=mean)
    assert found.weight is model.get_input_embeddings().weight is model.model.E_in
    assert model.config.vocab_size == model.model.dims.vocab_size == len(model.model.E_out) == size
    assert model.generation_config.suppress_tokens == suppressed
    known = min(size, 263)
    for name, weight in model.named_parameters():
        assert weight[:known].equal(old[name][:known]) and weight.requires_grad, name
    logits = model(TOKENS).logits
    # A product with more rows may sum in another order.
    torch.testing.assert_close(logits[..., :known], exact[..., :known], rtol=0, atol=1e-6)
    if methods.load(method).after_step == UnitWeights():
        for weight in (model.model.E_in, model.model.E_out):
            norms = weight[known:].norm(dim=1)
            torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=1e-6)
        s_z = model.model.logits_map.s_z
        if len(s_z.stored) == size:  # one number for all tokens stays what it is
            start = old["model.logits_map.s_z.stored"].mean() if mean else torch.tensor(s_z.scale)
            torch.testing.assert_close(s_z.stored[known:], start.expand(size - known), rtol=1e-6, atol=0)
    assert again(model, tmp_path)(TOKENS).logits.equal(logits)
    last = torch.full((1, 3), size - 1)
    loss = model(last, labels=last).loss
    loss.backward()
    assert loss.isfinite() and all(weight.grad.shape == weight.shape for weight in model.parameters())


def test_rules_of_parametrization_hold_for_new_tokens(load: Callable[..., Any]) -> None:
    """nuGPT starts s_z elsewhere, and stores it in another measure."""
    model = load("ngpt", {"rules": "nugpt", "base_width": 8})
    before = model.model.logits_map.s_z
    model.resize_token_embeddings(265, mean_resizing=False)
    after = model.model.logits_map.s_z
    assert (after.init, after.scale) == (before.init, before.scale) == (2**0.5, 0.03)
    assert after.effective()[263:].tolist() == pytest.approx([2**0.5] * 2)


def test_what_can_not_be_is_said(load: Callable[..., Any]) -> None:
    model = load("gpt")
    with pytest.raises(ConfigError, match="given 0 tokens, give 1 or more"):
        model.resize_token_embeddings(0)
    with pytest.raises(ConfigError, match=r"give a module whose weight is a parameter \[tokens, 16\]"):
        model.set_input_embeddings(torch.nn.Embedding(263, 8))
    with pytest.raises(ConfigError, match="a head with a bias"):
        model.set_output_embeddings(torch.nn.Linear(16, 263))
    with pytest.raises(ConfigError, match="a hook would never run"):
        model.enable_input_require_grads()
    model.set_input_embeddings(torch.nn.Embedding(263, 16))
    model.set_output_embeddings(torch.nn.Linear(16, 263, bias=False))
    assert len(model.model.state_dict()) == len(list(model.parameters()))
    assert model.get_input_embeddings()(TOKENS).equal(model.model.E_in[TOKENS])
    assert model.get_output_embeddings()(torch.ones(16)).shape == (263,)
