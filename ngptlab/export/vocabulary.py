"""An exported model's vocabulary by the names of `transformers`, which resizes one through modules of torch.

The embedding and the head are parameters of the decoder. Here they are shown as modules that share them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.errors import ConfigError
from ngptlab.nn.decoder import Decoder
from ngptlab.nn.parts import Logits, Scale
from ngptlab.nn.roles import Role


class _Embedding(nn.Embedding):
    def register_forward_hook(self, *_: Any, **__: Any) -> Any:
        raise ConfigError(
            "hooks on the embedding (NEFTune, enable_input_require_grads): this model reads the weight without calling the "
            "module, so a hook would never run; train without it"
        )


def as_embedding(E_in: nn.Parameter) -> nn.Embedding:
    """A module whose weight is `E_in` itself."""
    tokens, width = E_in.shape
    module = _Embedding(tokens, width, device="meta")
    module.weight = E_in
    return module


def as_head(E_out: nn.Parameter) -> nn.Linear:
    """A module whose weight is `E_out` itself."""
    tokens, width = E_out.shape
    module = nn.Linear(width, tokens, bias=False, device="meta")
    module.weight = E_out
    return module


def matrix_of(module: Any, dims: Dims) -> nn.Parameter:
    """The weight of an embedding or a head.

    Raises:
        ConfigError: the module has no weight [V, D], or a bias.
    """
    weight = getattr(module, "weight", None)
    if not isinstance(weight, nn.Parameter) or weight.ndim != 2 or weight.shape[1] != dims.d_model:
        raise ConfigError(
            f"embeddings: given {module}; give a module whose weight is a parameter [tokens, {dims.d_model}]"
        )
    if getattr(module, "bias", None) is not None:
        raise ConfigError("embeddings: given a head with a bias, and this model has none; give one without")
    return weight


@torch.no_grad()
def draw_rows(model: Decoder, module: nn.Embedding | nn.Linear) -> None:
    """Fill the matrix from which new rows are taken, as `Decoder.reset` fills the model's own embedding or head."""
    name, role = ("E_in", Role.EMBEDDING) if isinstance(module, nn.Embedding) else ("E_out", Role.UNEMBEDDING)
    module.weight.normal_(0.0, model.init_std(name, role, module.weight.shape[-1]))


def resized_logits(model: Decoder, dims: Dims, *, mean: bool) -> Logits:
    """The model's map of logits for the vocabulary of `dims`: known tokens keep their scales.

    New tokens start at the mean of these, or at the method's initial value where `mean` is false.

    Raises:
        ConfigError: the map has a parameter whose shape is not one value for each token.
    """
    before, after = model.dims.vocab_size, dims.vocab_size
    with torch.device(model.head.device):
        made: Logits = model.parts.logits.build(dims)
    old = {name: module for name, module in model.logits_map.named_modules() if isinstance(module, Scale)}
    for name, scale in ((name, module) for name, module in made.named_modules() if isinstance(module, Scale)):
        known, shape = old[name], scale.stored.shape
        if shape != known.stored.shape and (known.stored.shape[0], shape[0]) != (before, after):
            raise ConfigError(
                f"resize_token_embeddings: the scale {name} of this model's logits has the shape {list(known.stored.shape)}, "
                f"which does not follow the vocabulary of {before}; train a model of the vocabulary you need"
            )
        scale.init, scale.scale = known.init, known.scale
        scale.stored = nn.Parameter(_resized(known, shape[0], mean), known.stored.requires_grad)
    return made.train(model.training)


@torch.no_grad()
def _resized(scale: Scale, length: int, mean: bool) -> Tensor:
    known = scale.stored[:length]
    new = known.new_empty(length - len(known), *known.shape[1:])
    new[:] = scale.stored.mean(0) if mean else scale.scale
    return torch.cat((known, new))


@torch.no_grad()
def constrain_rows(model: Decoder, first: int) -> None:
    """Put the method's constraint on the embedding's and the head's rows from `first` on, and on nothing else."""
    rows = nn.Module()
    rows.E_in, rows.E_out = (nn.Parameter(weight[first:].clone()) for weight in (model.E_in, model.E_out))
    model.parts.after_step.build(model.dims)(rows)
    model.E_in[first:], model.E_out[first:] = rows.E_in, rows.E_out


def suppressed(tokens: list[int] | None, before: int, after: int, asked: int | None) -> list[int] | None:
    """Tokens that generation never gives, after a vocabulary of size `before` has size `after`; None where there are none.

    `tokens` has the rows at the end of an exported vocabulary that stand for no text. A caller who asks for a vocabulary of
    `asked` has a text for each of its tokens. Rows beyond these, up to a multiple, stand for no text.
    """
    padding, others = before, set(tokens or ())
    while padding - 1 in others:
        padding -= 1
        others.remove(padding)
    padding = padding if asked is None else asked
    return sorted({token for token in others if token < after} | set(range(padding, after))) or None
