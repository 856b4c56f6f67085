"""The baseline is a Llama: transformers' own implementation, with our weights, gives our numbers, piece by piece."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ngptlab import ConfigError
from ngptlab.cli import main
from ngptlab.export.llama import SEAMS, STRUCTURE, check_parts, llama_config
from ngptlab.export.write import export
from ngptlab.methods import load, names
from ngptlab.nn.rope import rope_tables
from ngptlab.nn.shared import Shared
from ngptlab.trained import Trained

MakeTrained = Callable[..., Trained]

# Both sides compute in float32 in an order of their own, and Llama makes its angles in float32: some 1e-6 of values near 1.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
TOKENS = torch.arange(3 * 40).view(3, 40) * 11 % 257


@pytest.mark.extra
@pytest.mark.parametrize("param", [{}, {"rules": "mup", "base_width": 8}])
def test_logits_are_equal_without_code_of_ours(
    make_trained: MakeTrained, tmp_path: Path, param: dict[str, object]
) -> None:
    transformers = pytest.importorskip("transformers")
    trained = make_trained("gpt", param=param)
    folder = export(trained, tmp_path / "out", "llama")
    assert not list(folder.glob("*.py"))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert type(model).__name__ == "LlamaForCausalLM"
    ours = trained.model(TOKENS)
    torch.testing.assert_close(model(TOKENS).logits.detach(), ours, **CLOSE)
    assert ours.std() > 0.3, "logits that are all alike would be equal in any order"


@pytest.mark.extra
def test_attention_mlp_and_embeddings_are_llama_s(make_trained: MakeTrained, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from transformers.models.llama import modeling_llama as llama

    trained = make_trained("gpt")
    config = llama.LlamaConfig(**llama_config(trained.model, 64), attn_implementation="eager")
    block, dims = trained.model.blocks[1], trained.model.dims
    generator = torch.Generator().manual_seed(0)
    h_BTD = torch.randn(2, 9, dims.d_model, generator=generator)

    def copied(module: torch.nn.Module, **weights: Tensor) -> torch.nn.Module:
        module.load_state_dict({f"{name}.weight": weight for name, weight in weights.items()})
        return module.eval()

    mlp = copied(
        llama.LlamaMLP(config), gate_proj=block.mlp.W_v, up_proj=block.mlp.W_u, down_proj=block.mlp.W_o
    )
    torch.testing.assert_close(mlp(h_BTD).detach(), block.mlp(h_BTD), **CLOSE)

    own = block.attn
    attention = copied(
        llama.LlamaAttention(config, 0), q_proj=own.W_q, k_proj=own.W_k, v_proj=own.W_v, o_proj=own.W_o
    )
    positions = torch.arange(9)[None]
    later = torch.full((9, 9), -torch.inf).triu(1)[None, None]
    angles = llama.LlamaRotaryEmbedding(config)(h_BTD, positions)
    theirs = attention(h_BTD, position_embeddings=angles, attention_mask=later)[0].detach()
    rope = rope_tables(9, dims.num_heads, dims.d_head, like=h_BTD)
    ours = own(h_BTD, Shared(TOKENS[:2, :9], h_BTD, rope))
    torch.testing.assert_close(theirs, ours, **CLOSE)

    embedding = torch.nn.Embedding.from_pretrained(trained.model.E_in)
    norm = llama.LlamaRMSNorm(dims.d_model, eps=config.rms_norm_eps)
    torch.testing.assert_close(
        norm(embedding(TOKENS)).detach(),
        trained.model.norm(torch.nn.functional.embedding(TOKENS, trained.model.E_in)),
        **CLOSE,
    )


LLAMAS = [
    name
    for name in names()
    if all(getattr(load(name), seam) == part for seam, part in {**SEAMS, **STRUCTURE}.items())
]


def test_what_trains_another_way_is_a_llama_too() -> None:
    assert {"gpt", "muon"} <= set(LLAMAS)
    for name in LLAMAS:
        check_parts(load(name))


@pytest.mark.parametrize("method", sorted(set(names()) - set(LLAMAS)))
def test_other_methods_are_refused_by_their_seams(method: str) -> None:
    theirs, ours = load(method), load("gpt")
    with pytest.raises(ConfigError, match="this model is no Llama") as error:
        check_parts(theirs)
    for seam in {**SEAMS, **STRUCTURE}:
        assert (f"{seam} is " in str(error.value)) == (getattr(theirs, seam) != getattr(ours, seam)), seam


def test_a_mixture_of_methods_counts_by_its_parts(make_trained: MakeTrained, tmp_path: Path) -> None:
    """Unit weights, lent by another method, are a matter of training: what comes out is a Llama all the same."""
    lent = make_trained("gpt", seams={"after_step": "ngpt"}, name="unit")
    assert (
        json.loads((export(lent, tmp_path / "unit-out", "llama") / "config.json").read_text())["model_type"]
        == "llama"
    )
    other = make_trained("gpt", seams={"qk": "qk_norm"}, name="normed")
    assert main(["export", str(other.run.path), str(tmp_path / "no"), "--as", "llama"]) == 2
    assert not (tmp_path / "no").exists()


def test_names_there_and_back(make_trained: MakeTrained) -> None:
    from ngptlab.export.llama import llama_weights, own_weights

    model = make_trained("gpt").model
    back = own_weights(llama_weights(model))
    assert set(back) == {name for name, _ in model.named_parameters()}
    assert all(back[name].equal(weight) for name, weight in model.named_parameters())
