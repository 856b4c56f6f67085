"""The role of every parameter: who reads the residual stream, who writes to it. Never from shapes.

Optimizer groups, initial values and weight constraints are tables over roles; each parameter has exactly one. The matrices
that every decoder has are known by name. A module that makes any other matrix declares the matrix's role:

    class _Gate(nn.Module):
        roles = {"W_g": Role.READER}
        starts_at_zero = ("W_g",)
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from torch import Tensor, nn

from ngptlab.errors import ConfigError


class Role(StrEnum):
    """What a parameter does in the model."""

    EMBEDDING = "embedding"  # E_in [V, D]
    UNEMBEDDING = "unembedding"  # E_out [V, D]
    READER = "reader"  # [out, D], reads the stream: W_q, W_k, W_v, W_u
    WRITER = "writer"  # [D, in], writes to the stream: both W_o
    INNER = "inner"  # [out, in] within a branch: neither axis runs along d_model
    SCALE = "scale"  # vectors: alpha, s_qk, s_u, s_v, s_z


MATRICES: dict[str, Role] = {
    "E_in": Role.EMBEDDING,
    "E_out": Role.UNEMBEDDING,
    "W_q": Role.READER,
    "W_k": Role.READER,
    "W_v": Role.READER,
    "W_u": Role.READER,
    "W_o": Role.WRITER,
}


class ScaleKind(StrEnum):
    """What a trained vector scales. Rules of parametrization may treat each kind differently."""

    RATE = "rate"  # alpha: how far a branch moves the hidden state
    QK = "qk"  # s_qk: queries and keys
    GATE = "gate"  # s_u, s_v: inputs of the MLP's gate
    LOGITS = "logits"  # s_z


SCALES: dict[str, ScaleKind] = {
    "alpha": ScaleKind.RATE,
    "s_qk": ScaleKind.QK,
    "s_u": ScaleKind.GATE,
    "s_v": ScaleKind.GATE,
    "s_z": ScaleKind.LOGITS,
}

D_MODEL_AXIS: dict[Role, int] = {Role.EMBEDDING: 1, Role.UNEMBEDDING: 1, Role.READER: 1, Role.WRITER: 0}


def role(name: str) -> Role:
    """Role of a parameter by its full name alone, such as 'blocks.0.attn.W_q' or 'blocks.0.mlp.gate.s_u.stored'.

    Raises:
        ConfigError: no rule covers the name; silently training it in some default group would corrupt a comparison.
    """
    leaf = name.rpartition(".")[2]
    if leaf == "stored":
        return Role.SCALE
    if leaf in MATRICES:
        return MATRICES[leaf]
    raise ConfigError(
        f"parameter {name!r} has no role; name a matrix as one of {', '.join(MATRICES)}, say its role in the class of the module "
        f'that makes it, as roles = {{"{leaf}": Role.READER}}, or hold a vector in nn.parts.Scale'
    )


def roles(model: nn.Module) -> dict[str, Role]:
    """Roles of all parameters by their full names, in the model's order: as declared, or else by name.

    Raises:
        ConfigError: a parameter has no role.
    """
    return {name: _role(name, owner, leaf) for name, owner, leaf in _parameters(model)}


def zero_at_first(model: nn.Module) -> set[str]:
    """Full names of the matrices that start at zero, whatever is drawn for others of their role."""
    return {name for name, owner, leaf in _parameters(model) if leaf in getattr(owner, "starts_at_zero", ())}


def _role(name: str, owner: nn.Module, leaf: str) -> Role:
    return getattr(owner, "roles", {}).get(leaf) or role(name)


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Full name, module and name there of every parameter, as `named_parameters` orders them."""
    for place, owner in model.named_modules():
        for leaf, _ in owner.named_parameters(recurse=False):
            yield (f"{place}.{leaf}" if place else leaf), owner, leaf


def along_d_model(model: nn.Module) -> Iterator[tuple[Tensor, int]]:
    """Every matrix that has an axis along d_model, and the number of that axis."""
    for name, owner, leaf in _parameters(model):
        axis = D_MODEL_AXIS.get(_role(name, owner, leaf))
        if axis is not None:
            yield getattr(owner, leaf), axis


def d_model_axes(model: nn.Module) -> dict[str, int]:
    """The axis along d_model of every parameter that has one, by full name."""
    return {name: D_MODEL_AXIS[kind] for name, kind in roles(model).items() if kind in D_MODEL_AXIS}


def scale_kind(name: str) -> ScaleKind:
    """Kind of a scale by the full name of its module, such as 'blocks.0.mlp.gate.s_u'.

    Raises:
        ConfigError: the name is not in the table.
    """
    leaf = name.rpartition(".")[2]
    if leaf in SCALES:
        return SCALES[leaf]
    raise ConfigError(
        f"scale {name!r} has no kind, which these rules of parametrization need; name it as one of {', '.join(SCALES)}"
    )


def placed(name: str) -> tuple[int | None, str]:
    """The block that a parameter or module is in, and its name there: 'blocks.3.attn.W_q' gives (3, 'attn.W_q').

    The block is None outside of blocks: 'E_in' gives (None, 'E_in').
    """
    parts = name.split(".", 2)
    if parts[0] == "blocks" and len(parts) == 3:
        return int(parts[1]), parts[2]
    return None, name
