"""Seams of structure: what the plain decoder has there changes nothing, and what flows beside the stream is right."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ngptlab import ConfigError, Decoder, Dims, build_model, methods
from ngptlab.config import ParamConfig
from ngptlab.data.batches import Batches, CutBatches
from ngptlab.export.llama import check_parts
from ngptlab.nn import decoder
from ngptlab.nn.blocks import Mlp, Parts
from ngptlab.nn.cache import Cache
from ngptlab.nn.functions import linear
from ngptlab.nn.matrices import matrix
from ngptlab.nn.parts import Scale
from ngptlab.nn.roles import Role, roles
from ngptlab.nn.shared import Shared, previous
from ngptlab.nn.structure import Chain, Embed, TiedHead
from ngptlab.stack.probe import refusal

DIMS = Dims(vocab_size=17, num_layers=4, num_heads=2, d_model=16, d_ff=24)
TOKENS = (torch.arange(2 * 11) ** 2 * 5 % 17).view(2, 11)
GPT = methods.load("gpt")


def built(**seams: object) -> Decoder:
    return build_model(replace(GPT, **seams), DIMS, seed=1).double()  # type: ignore[arg-type]


# --- a part may know its layer ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ByLayer:
    def build_at(self, dims: Dims, layer: int) -> nn.Module:
        module = nn.Identity()
        module.layer = layer
        return module


def test_a_part_may_know_its_layer_and_the_last_norm_comes_after_all() -> None:
    model = built(norm=ByLayer())
    layers = [(block.attn_norm.layer, block.mlp_norm.layer) for block in model.blocks]  # type: ignore[union-attr]
    assert layers == [(n, n) for n in range(4)] and model.norm.layer == 4


@dataclass(frozen=True)
class Window:
    """A window of each layer's own."""

    def build_at(self, dims: Dims, layer: int) -> int | None:
        return None if layer == 1 else layer + 2


@torch.no_grad()
def test_windows_by_layer_reach_as_far_as_they_say() -> None:
    """A token's influence ends where the windows of the layers above it, added up, do."""
    for reach, windows in ((3, 1), (6, 2)):
        dims = DIMS.model_copy(update={"num_layers": windows})
        mask = replace(Reach(), positions=reach // windows + 1)
        model = build_model(replace(GPT, mask=mask), dims, seed=1).double()
        changed = TOKENS.clone()
        changed[:, 0] = (changed[:, 0] + 1) % 17
        moved = (model(TOKENS) != model(changed)).any(-1).any(0)
        assert moved.tolist() == [t <= reach for t in range(11)]


@dataclass(frozen=True)
class Reach:
    positions: int = 1

    def build(self, dims: Dims) -> int:
        return self.positions


@torch.no_grad()
@pytest.mark.parametrize("window", [None, 1, 3, 5])
def test_windows_hold_through_a_cache(window: int | None) -> None:
    """Where the cache has a window too, the narrower holds."""
    model = built(mask=Window())
    cache = Cache(DIMS, window=window)
    pieces = torch.cat([model(TOKENS[:, a:b], cache) for a, b in ((0, 4), (4, 5), (5, 11))], dim=1)
    narrow = Narrow(window) if window else Window()
    torch.testing.assert_close(pieces, built(mask=narrow)(TOKENS), rtol=0, atol=1e-12)


@dataclass(frozen=True)
class Narrow:
    most: int

    def build_at(self, dims: Dims, layer: int) -> int:
        return min(self.most, Window().build_at(dims, layer) or self.most)


# --- roles, draws, scales ---------------------------------------------------------------------------------------------


class _Extra(nn.Module):
    roles: ClassVar = {"W_g": Role.READER, "W_n": Role.INNER, "W_z": Role.READER}
    starts_at_zero = ("W_z",)

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.W_g, self.W_n = matrix(dims.d_model, dims.d_model), matrix(dims.d_model, dims.d_model)
        self.W_z = matrix(dims.d_model, dims.d_model)

    def forward(self, o_BTHK: Tensor, v_BTHK: Tensor, h_BTD: Tensor) -> Tensor:
        gate_BTD = linear(linear(h_BTD, self.W_g), self.W_n) + linear(h_BTD, self.W_z)
        return o_BTHK + gate_BTD.view(o_BTHK.shape)


@dataclass(frozen=True)
class Extra:
    def build(self, dims: Dims) -> nn.Module:
        return _Extra(dims)


def test_a_matrix_more_changes_no_other_draw() -> None:
    plain, more = (dict(built(**seams).named_parameters()) for seams in ({}, {"attn_out": Extra()}))
    assert len(more) == len(plain) + 4 * 3
    assert all(torch.equal(more[name], weight) for name, weight in plain.items())
    first, second = more["blocks.0.attn.out.W_g"], more["blocks.1.attn.out.W_g"]
    assert not torch.equal(first, second) and not torch.equal(first, more["blocks.0.attn.out.W_n"])
    assert not more["blocks.2.attn.out.W_z"].any()


def test_a_matrix_of_another_shape_changes_no_other_draw() -> None:
    plain, grouped = (dict(build_model(name, DIMS, seed=1).named_parameters()) for name in ("gpt", "gqa"))
    for name, weight in grouped.items():
        same = name.rpartition(".")[2] not in ("W_k", "W_v") or ".mlp." in name
        assert (weight.shape == plain[name].shape and torch.equal(weight, plain[name])) == same, name


def test_roles_are_declared_where_a_matrix_is_made() -> None:
    kinds = roles(built(attn_out=Extra()))
    assert kinds["blocks.3.attn.out.W_g"] is Role.READER and kinds["blocks.3.attn.out.W_n"] is Role.INNER
    assert kinds["blocks.3.attn.W_o"] is Role.WRITER and kinds["E_in"] is Role.EMBEDDING


class _Undeclared(_Extra):
    roles: ClassVar = {}


@dataclass(frozen=True)
class Undeclared:
    def build(self, dims: Dims) -> nn.Module:
        return _Undeclared(dims)


def test_an_undeclared_matrix_is_an_error_that_says_where_to_declare_it() -> None:
    with pytest.raises(ConfigError, match=r"'blocks\.0\.attn\.out\.W_g' has no role; .*say its role"):
        built(attn_out=Undeclared())


def test_rules_over_width_refuse_what_they_do_not_know() -> None:
    mup = ParamConfig(rules="mup", base_width=8)
    for seams, why in (
        ({"head": TiedHead()}, "one matrix for both"),
        ({"attn_out": Extra()}, "out.W_n does neither"),
    ):
        with pytest.raises(ConfigError, match=f"param.rules: .*{why}"):
            build_model(replace(GPT, **seams), DIMS, param=mup)  # type: ignore[arg-type]


def test_a_scale_that_starts_at_zero_learns_and_one_may_be_drawn() -> None:
    zero, drawn = Scale(1000, init=0.0, scale=4.0), Scale(1000, init=0.5, scale=2.0, spread=0.1)
    for scale in (zero, drawn):
        scale.reset(torch.Generator().manual_seed(3))
    assert not zero.effective().any()
    zero.effective().sum().backward()
    assert zero.stored.grad is not None and (zero.stored.grad == 0.25).all(), (
        "a step of Adam moves it by lr / scale"
    )
    values = drawn.effective().detach()
    assert float(values.mean()) == pytest.approx(0.5, abs=0.02) and float(values.std()) == pytest.approx(
        0.1, rel=0.1
    )


# --- beside the stream ------------------------------------------------------------------------------------------------


def test_what_stood_before_is_the_same_in_pieces() -> None:
    x = torch.randn(2, 7, 3)
    whole, cache = previous(x, None, "x"), Cache(DIMS)
    assert torch.equal(whole[:, 1:], x[:, :-1]) and not whole[:, 0].any()
    pieces = [previous(x[:, a:b], cache, "x") for a, b in ((0, 1), (1, 5), (5, 7))]
    assert torch.equal(torch.cat(pieces, dim=1), whole)
    cache.select(torch.tensor([1, 1, 0]))
    again = previous(torch.zeros(3, 1, 3), cache, "x")
    assert torch.equal(again[:, 0], x[[1, 1, 0], -1])


class _Positions(Embed):
    roles: ClassVar = {"E_meta": Role.EMBEDDING}

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.prefix, self.E_meta = 3, matrix(3, dims.d_model)

    def before(self) -> Tensor:
        return self.E_meta


@dataclass(frozen=True)
class Positions:
    def build(self, dims: Dims) -> Embed:
        return _Positions(dims)


@torch.no_grad()
def test_positions_before_a_text_are_tokens_that_nobody_gave() -> None:
    """The same as a vocabulary with three tokens more, put before every text."""
    model, wider = built(embed=Positions()), Decoder(DIMS.model_copy(update={"vocab_size": 20}), GPT).double()
    wider.reset(0)
    own = dict(model.named_parameters())
    for name, weight in wider.named_parameters():
        if name == "E_in":
            weight.copy_(torch.cat((own[name], own["embed.E_meta"])))
        elif name == "E_out":
            weight[:17] = own[name]
        else:
            weight.copy_(own[name])
    before = torch.tensor([17, 18, 19]).expand(2, 3)
    expected = wider(torch.cat((before, TOKENS), dim=1))[:, 3:, :17]
    torch.testing.assert_close(model(TOKENS), expected, rtol=0, atol=1e-12)
    with pytest.raises(ConfigError, match="window 4: this method has 3 positions before every text"):
        model(TOKENS, Cache(DIMS, window=4))


def test_rows_of_a_table_are_zero_before_the_text() -> None:
    table = torch.randn(17, 4)
    shared = Shared(TOKENS, torch.zeros(2, 14, 16), (torch.zeros(0), torch.zeros(0)))
    rows = shared.rows(table)
    assert torch.equal(rows[:, 3:], table[TOKENS]) and not rows[:, :3].any()


class _Backwards(Chain):
    def forward(
        self, h_BTD: Tensor, blocks: Sequence[Callable[[Tensor, Shared], Tensor]], shared: Shared
    ) -> Tensor:
        return super().forward(h_BTD, list(blocks)[::-1], shared)


@dataclass(frozen=True)
class Backwards:
    def build(self, dims: Dims) -> Chain:
        return _Backwards()


@torch.no_grad()
def test_the_stream_decides_the_order_and_a_cache_follows_the_blocks() -> None:
    model = built(stream=Backwards())
    other = built()
    for name, weight in other.named_parameters():
        kind, _, rest = name.partition(".")
        number, _, leaf = rest.partition(".")
        weight.copy_(model.get_parameter(f"blocks.{3 - int(number)}.{leaf}" if kind == "blocks" else name))
    torch.testing.assert_close(model(TOKENS), other(TOKENS), rtol=0, atol=0)
    cache = Cache(DIMS)
    pieces = torch.cat([model(TOKENS[:, a:b], cache) for a, b in ((0, 6), (6, 11))], dim=1)
    torch.testing.assert_close(pieces, model(TOKENS), rtol=0, atol=1e-12)


# --- the sequences of an update ---------------------------------------------------------------------------------------


class Stream:
    def __len__(self) -> int:
        return 1000

    def window(self, start: int, length: int) -> np.ndarray:
        return np.arange(start, start + length, dtype=np.int64)


def test_cut_batches_have_the_same_tokens_in_shorter_sequences() -> None:
    whole = Batches(Stream(), context=16, batch_size=3, seed=0)  # type: ignore[arg-type]
    cut = CutBatches(whole, lambda step: (4, 8, 16, 5, 0, 8.0)[step])  # type: ignore[arg-type]
    for step, length in enumerate((4, 8, 16)):
        inputs, targets = cut.at(step)
        assert inputs.shape == targets.shape == (3 * 16 // length, length)
        assert np.array_equal(inputs.ravel(), whole.at(step)[0].ravel()) and np.array_equal(
            targets, inputs + 1
        )
    for step, given in ((3, "5"), (4, "0"), (5, r"8\.0")):
        with pytest.raises(
            ConfigError, match=f"gives {given} tokens at step {step}.* divisor of train.context 16"
        ):
            cut.at(step)


def test_a_model_is_filled_a_matrix_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All draws together are as large as the model."""
    plain, seen, most = decoder._plain_draws, list[weakref.ref[Tensor]](), 0

    def watched(dims: Dims, seed: int) -> Iterator[tuple[str, Tensor]]:
        nonlocal most
        for name, draw in plain(dims, seed):
            seen.append(weakref.ref(draw))
            most = max(most, sum(each() is not None for each in seen))
            yield name, draw

    monkeypatch.setattr(decoder, "_plain_draws", watched)
    build_model("gpt", DIMS)
    assert (
        len(seen) == 2 + 7 * DIMS.num_layers and most <= 3
    )  # names of three frames hold the newest, or the one before


@pytest.mark.parametrize(
    ("seam", "lender"), [("qk", "ngpt_modded"), ("qk", "ngpt_fixed_scales"), ("attn_out", "xsa")]
)
def test_parts_of_heads_take_groups_of_them(seam: str, lender: str) -> None:
    """Keys and values have fewer heads than queries: as many equal ones give the same."""
    dims = DIMS.model_copy(update={"num_heads": 4})
    grouped = build_model(methods.load("gqa", {seam: lender}), dims, seed=1).double()
    whole = build_model(methods.load("gpt", {seam: lender}), dims, seed=1).double()
    with torch.no_grad():
        for model in (grouped, whole):
            for name, weight in model.named_parameters():
                if name.endswith("share.stored"):
                    weight.fill_(0.5)
        for one, other in zip(grouped.blocks, whole.blocks, strict=True):
            for name in ("W_k", "W_v"):
                heads_HKD = getattr(one.attn, name).view(2, dims.d_head, -1)
                getattr(other.attn, name).copy_(heads_HKD.repeat_interleave(2, dim=0).flatten(0, 1))
        torch.testing.assert_close(grouped(TOKENS), whole(TOKENS))


# --- who can't handle a method says so --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Half:
    def build(self, dims: Dims) -> Callable[[int, int, int], int]:
        return lambda step, steps, context: context // 2


def test_a_stack_refuses_sequences_of_several_lengths() -> None:
    assert "sequences of one length" in refusal(replace(GPT, context=Half()))
    assert refusal(replace(GPT, head=TiedHead())) == ""
    for name, seam in (("fading_decay", "schedule"), ("batch_warmup", "batch_stages"), ("ema", "average")):
        assert f"a stack has none of this method's {seam}" in refusal(methods.load(name))


@dataclass(frozen=True)
class Other:
    def build(self, dims: Dims) -> None:
        raise AssertionError("not built")


def test_llama_refuses_every_seam_of_structure_that_its_logits_depend_on() -> None:
    check_parts(GPT)
    free = {"init", "loss", "context", "batch_stages", "schedule", "average"}
    for seam in fields(Parts):
        changed = replace(GPT, **{seam.name: Other()})
        if seam.name in free | {"after_step", "weight_decay", "warmup_steps", "optimizer"}:
            check_parts(changed)
        else:
            with pytest.raises(ConfigError, match=f"{seam.name} is Other"):
                check_parts(changed)


def test_an_mlp_without_a_gate_folds_and_shows_its_matrices() -> None:
    class Plain(Mlp):
        def __init__(self) -> None:
            super().__init__()
            self.W_u = matrix(4, 4)

    mlp = Plain()
    stored = mlp.W_u
    assert mlp.as_used(stored) is stored
    mlp.fold(lambda weight: nn.Parameter(weight.bfloat16(), requires_grad=False))
    assert mlp.W_u.dtype == torch.bfloat16


def test_a_sequence_of_one_token_has_none_further_ahead() -> None:
    ahead, plain = build_model("mtp", DIMS, seed=1), build_model("gpt", DIMS, seed=1)
    one = TOKENS[:, :1]
    assert torch.equal(ahead.loss(one, one), plain.loss(one, one)), "not the mean of nothing"
