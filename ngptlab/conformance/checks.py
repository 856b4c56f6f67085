"""The checks: each takes a seam table, and says in a sentence what is wrong with it and what to mend."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ngptlab.config import Dims, OptimConfig
from ngptlab.conformance.models import DIMS, TOKENS, in_pieces, noisy, optimizer_of, perturbed, train
from ngptlab.errors import ConfigError
from ngptlab.folders import scratch
from ngptlab.methods import build_model
from ngptlab.nn.cache import Cache
from ngptlab.nn.decoder import Decoder, Parts
from ngptlab.nn.parts import BlockPart, built
from ngptlab.nn.roles import Role, d_model_axes, roles
from ngptlab.nn.seams import misfit
from ngptlab.optim.groups import groups
from ngptlab.train.checkpoint import resume, save_checkpoint


class Broken(ConfigError):
    """A method does not satisfy what every method must."""


Check = Callable[[Parts], None]


def parts_are_frozen_records(parts: Parts) -> None:
    """Seams hold records that compare, hash and print, or numbers."""
    if said := misfit(parts):
        raise Broken(said)
    for seam in fields(Parts):
        if not isinstance(part := getattr(parts, seam.name), int | float | tuple):
            _check_record(part, seam.name)
    if "0x" in repr(parts) or "lambda" in repr(parts):
        raise Broken(
            "a part prints an address or a lambda; its fields are to be numbers, words, tuples or records"
        )
    try:
        parts.weight_decay = 1.0  # type: ignore[misc]
    except FrozenInstanceError:
        return
    raise AssertionError("Parts is frozen")


def _check_record(part: Any, seam: str) -> None:
    if not (is_dataclass(part) and getattr(part, "__dataclass_params__").frozen):  # noqa: B009  no type has it
        raise Broken(
            f"{seam}: {type(part).__name__} is no frozen record; put @dataclass(frozen=True) above its class"
        )
    same: Any = deepcopy(part)  # a module or an array in a field would be another one
    try:
        alike = part == same and hash(part) == hash(same)
    except TypeError as error:
        raise Broken(f"{seam}: {error}; fields of a part are numbers, words, tuples or records") from None
    if not alike:
        raise Broken(
            f"{seam}: an equal copy does not compare equal; leave __eq__ to the dataclass, and let fields be numbers, words, "
            "tuples or records, no modules"
        )


def builds(parts: Parts) -> None:
    """Logits and a finite loss; every parameter filled, with one role and one group of the optimizer."""
    model = build_model(parts, DIMS, seed=1)
    logits = model(TOKENS)
    shape = (*TOKENS.shape, DIMS.vocab_size)
    if logits.shape != shape or logits.dtype != torch.float32:
        raise Broken(
            f"logits are {tuple(logits.shape)} in {logits.dtype}, not {shape} in float32; a part changes shape or dtype: return "
            "those that it was given"
        )
    if not logits.isfinite().all():
        raise Broken("logits are not finite at initial weights; look for a division or a root of zero")
    every_parameter_is_filled(parts)
    every_parameter_has_one_role_and_one_group(parts)
    what_stands_before_W_o_gets_heads(parts)


@dataclass(frozen=True)
class _Watched:
    """A part of `attn_out` that notes what it is given and gives."""

    part: BlockPart

    def build_at(self, dims: Dims, layer: int) -> nn.Module:
        return _Watching(built(self.part, dims, layer))


class _Watching(nn.Module):
    def __init__(self, module: nn.Module | None) -> None:
        super().__init__()
        self.module = module

    def forward(self, o_BTHK: Tensor, v_BTHK: Tensor, h_BTD: Tensor) -> Tensor:
        after = o_BTHK if self.module is None else self.module(o_BTHK, v_BTHK, h_BTD)
        heads, want = tuple(o_BTHK.shape[2:]), (DIMS.num_heads, DIMS.d_head)
        if heads != want:
            raise Broken(
                f"attention gives {heads[0]} heads of width {heads[1]} where attn_out stands; give model.num_heads of width "
                f"d_head there, {want[0]} of {want[1]}, because another method's part may stand there. `joined` may regroup them"
            )
        if after.shape != o_BTHK.shape:
            raise Broken(
                f"attn_out gives {tuple(after.shape)} for {tuple(o_BTHK.shape)}; return the shape given"
            )
        return after


def what_stands_before_W_o_gets_heads(parts: Parts) -> None:
    """[B, T, H, K], as the sizes say, so that any part of `attn_out` fits any attention."""
    with torch.no_grad():
        build_model(replace(parts, attn_out=_Watched(parts.attn_out)), DIMS).hidden(TOKENS)


def every_parameter_is_filled(parts: Parts) -> None:
    """`Decoder.reset` leaves none as it was."""
    model = Decoder(DIMS, parts)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(float("nan"))
    model.reset(0)
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all() or weight.dtype != torch.float32:
            raise Broken(
                f"{name} has no initial value; make vectors with Scale(...), and matrices with matrix(...)"
            )
    if set(model.state_dict()) != {name for name, _ in model.named_parameters()}:
        raise Broken("a part has buffers, which checkpoints do not hold; constants are Python floats")


def every_parameter_has_one_role_and_one_group(parts: Parts) -> None:
    """Roles decide decay and learning rate."""
    model = build_model(parts, DIMS)
    table, kinds, axes = groups(OptimConfig(weight_decay=0.1)), roles(model), d_model_axes(model)
    for name, weight in model.named_parameters():
        axis = axes.get(name)
        if sum(kinds[name] in group.roles for group in table) != 1:
            raise Broken(
                f"{name} is in no group of the optimizer, or in several; name it by docs/add_a_method.md"
            )
        if axis is not None and weight.shape[axis] != DIMS.d_model:
            raise Broken(f"{name} is {tuple(weight.shape)}; its axis {axis} is to be d_model, {DIMS.d_model}")
        if weight.ndim != 2 and kinds[name] is not Role.SCALE:
            raise Broken(
                f"{name} is {tuple(weight.shape)}: a matrix has two axes, and a scale's name a `Scale`"
            )
    placed = sorted(id(p) for group in optimizer_of(model).param_groups for p in group["params"])
    if placed != sorted(id(p) for p in model.parameters()):
        raise Broken("the optimizer does not have each parameter once; take every group that it is given")


def influences(parts: Parts, position: int) -> Tensor:
    """How much each token moves what the head gets at a position: the largest gradient of its embedding, [T]."""
    model = perturbed(parts)
    direction = torch.linspace(-1, 1, DIMS.d_model) ** 3 + 0.3
    (model.hidden(TOKENS)[0, position] @ direction).backward()  # type: ignore[no-untyped-call]
    assert model.E_in.grad is not None
    return model.E_in.grad[TOKENS[0]].abs().amax(dim=1)


def no_later_token_leaks(parts: Parts) -> None:
    """By gradient, and bit by bit."""
    last = TOKENS.shape[1] - 1
    for position in (0, 3, last):
        later = influences(parts, position)[position + 1 :].nonzero().flatten()
        if len(later):
            raise Broken(
                f"the prediction at position {position} depends on token {position + 1 + int(later[0])}, a later one; no "
                "part may mix positions, but through attention to earlier ones"
            )
    with torch.no_grad():
        model, changed = perturbed(parts), TOKENS.clone()
        changed[0, 5:] = torch.tensor([9, 1, 12])
        before, again, after = model(TOKENS), model(TOKENS), model(changed)
    if not torch.equal(before, again):
        raise Broken(
            "the same tokens give other logits a second time; no part may draw random numbers or keep what it has seen"
        )
    if not torch.equal(before[:, :5], after[:, :5]):
        raise Broken(
            "other later tokens change earlier logits; no part may mix positions, not even by a mean"
        )
    if torch.equal(before[:, 5:], after[:, 5:]):
        raise Broken("logits do not depend on the tokens; a part drops what it is given")


def gradients_reach_every_parameter(parts: Parts) -> None:
    """Finite, and somewhere not zero."""
    model = perturbed(parts)
    model.loss(TOKENS[:, :-1], TOKENS[:, 1:]).backward()  # type: ignore[no-untyped-call]
    for name, weight in model.named_parameters():
        if weight.grad is None or not weight.grad.any():
            raise Broken(
                f"no gradient reaches {name}, so it would not train; use it in forward, or make it no parameter"
            )
        if not weight.grad.isfinite().all():
            raise Broken(f"the gradient of {name} is not finite; look for a root or a norm of zero")


def cached_as_whole(parts: Parts) -> None:
    """Read in pieces through a cache, a text gives the logits that it gives at once."""
    model = noisy(build_model(parts, DIMS, seed=5).double(), 6, scales=0.5, weights=0.2)
    with torch.no_grad():
        whole = model(TOKENS)
    for cuts in ([], [1, 2, 5], list(range(1, TOKENS.shape[1]))):
        off = float((in_pieces(model, TOKENS, cuts) - whole).abs().max())
        if not off <= 1e-12:  # the same sums in another order: some 1e-15 of logits of a few nats
            raise Broken(
                f"read in {len(cuts) + 1} pieces through a cache, logits are off by {off:.2g}; no part may depend on other "
                "positions of its input, or on how many there are. One that looks back takes `previous` of ngptlab.nn.shared, "
                "which remembers the last position"
            )
    says_what_it_keeps(model)


def says_what_it_keeps(model: Decoder) -> None:
    """Where a cache holds more than a key and a value a position, a module says `looks_back`, by which exports are refused."""
    cache = Cache(DIMS)
    with torch.no_grad():
        model(TOKENS, cache)
    held = {layer.held for layer in cache.layers} - {0, cache.length + cache.prefix}
    if (cache.kept or held) and not any(getattr(module, "looks_back", False) for module in model.modules()):
        raise Broken(
            "a part keeps more of a text than one key and value for each token, and does not say so; write looks_back = True in "
            "its module, because an export has no place for more"
        )


def resumes(parts: Parts) -> None:
    """Saved and loaded in the middle, training goes on bit for bit."""
    model = build_model(parts, DIMS, seed=2)
    optimizer = optimizer_of(model)
    with scratch() as folder:
        train(model, 3, optimizer)
        save_checkpoint(folder, step=3, config_hash="", model=model, optimizer=optimizer, keep=1)
        expected = train(model, 3, optimizer)
        again = build_model(parts, DIMS, seed=3)
        its_optimizer = optimizer_of(again)
        resume(folder, config_hash="", model=again, optimizer=its_optimizer, warn=lambda text: None)
        found = train(again, 3, its_optimizer)
    same = all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    if found != expected or not same:
        raise Broken(
            "a resumed run goes on otherwise than one that was not stopped; keep all that changes in parameters, or in tensors "
            "of the optimizer's state"
        )


def bfloat16_comes_close(parts: Parts) -> None:
    """Finite, float32 at the end, and near what float32 gives."""
    model = build_model(parts, DIMS, seed=7)
    with torch.no_grad():
        exact = model(TOKENS)
        model.compute_dtype = torch.bfloat16
        rough = model(TOKENS)
        kept = model.hidden(TOKENS).dtype
    if not rough.isfinite().all():
        raise Broken("logits are not finite in bfloat16; compute norms, exponentials and sums in float32")
    if not exact.dtype == rough.dtype == torch.float32:
        raise Broken(f"logits are {rough.dtype} where activations are bfloat16; the head's are to be float32")
    if kept != torch.bfloat16:
        raise Broken(
            f"activations are {kept} at the end where bfloat16 was asked for, which is slow; a part does not return the dtype "
            "that it was given: end in .to(h.dtype), as of a product with Scale.effective(), which is float32"
        )
    if any(weight.dtype != torch.float32 for weight in model.parameters()):
        raise Broken("a weight changed its dtype in forward; cast what is computed, not what is stored")
    error = ((rough - exact).norm() / exact.norm()).item()
    # bfloat16 keeps 8 bits: a rounding is off by up to 2^-8, by 2^-9 on the root of the mean square. Some 8 roundings
    # on each of 4 branches, and the head, add up as a random walk to about 6 * 2^-9 = 1%; 4% is beyond it and below
    # any wrong computation. Above 0, for otherwise the dtype was ignored.
    if not 1e-4 < error < 0.04:
        raise Broken(
            f"in bfloat16 logits are off by {error:.2%}, where rounding alone gives 0.01% to 4%; return the dtype that was "
            "given, and compute norms in float32"
        )


def is_deterministic(parts: Parts) -> None:
    """The seed decides the weights, and nothing else; equal runs have equal losses."""
    state = torch.random.get_rng_state()
    one, same, other = (build_model(parts, DIMS, seed=seed) for seed in (4, 4, 5))
    kinds = roles(one)
    for (name, a), b, c in zip(one.named_parameters(), same.parameters(), other.parameters(), strict=True):
        if not torch.equal(a, b):
            raise Broken(
                f"{name} differs between two models of one seed; leave initial values to `Decoder.reset`"
            )
        if kinds[name] is not Role.SCALE and a.any() and torch.equal(a, c):
            raise Broken(f"{name} is the same for every seed; leave initial values to `Decoder.reset`")
    if train(one, 4) != train(same, 4) or not torch.equal(one(TOKENS), one(TOKENS)):
        raise Broken(
            "two equal runs have other losses; no part may draw random numbers or keep what it has seen"
        )
    if not torch.equal(state, torch.random.get_rng_state()):
        raise Broken("torch's own generator was used; leave initial values to `Decoder.reset`")


def constraint_is_idempotent(parts: Parts) -> None:
    """`after_step` leaves what satisfies it."""
    model = build_model(parts, DIMS, seed=2)
    train(model, 1)
    once = deepcopy(model.state_dict())
    model.after_step()
    for name, value in model.state_dict().items():
        # A second division by a norm within rounding of 1 moves an entry by its own rounding at most.
        if not torch.allclose(value, once[name], rtol=2.5e-7, atol=0):
            raise Broken(
                f"after_step moves {name} when it is called again; a constraint leaves what satisfies it"
            )


CHECKS: dict[str, Check] = {
    "parts are frozen records": parts_are_frozen_records,
    "builds": builds,
    "no later token leaks": no_later_token_leaks,
    "gradients reach every parameter": gradients_reach_every_parameter,
    "cached as uncached": cached_as_whole,
    "resumes bit for bit": resumes,
    "finite in bfloat16": bfloat16_comes_close,
    "deterministic": is_deterministic,
    "the constraint is idempotent": constraint_is_idempotent,
}
"""What a method's author is told, in this order."""
