"""Apply a table of rules to a model: initial values and the divisor before its head. The optimizer applies the other rules."""

from __future__ import annotations

import torch

from ngptlab.config import Dims, OptimConfig
from ngptlab.config.draws import initial
from ngptlab.errors import ConfigError
from ngptlab.nn.decoder import Decoder
from ngptlab.nn.optimizers import MuonInBlocks
from ngptlab.nn.parts import FreeWeights, Scale
from ngptlab.nn.roles import Role, ScaleKind, roles, scale_kind
from ngptlab.param.rules import Rules


def apply(model: Decoder, rules: Rules, optim: OptimConfig | None = None) -> None:
    """Set how `model.reset` will start the model, and the divisor before its head. To be called once, before `reset`.

    Args:
        optim: says how matrices are drawn and where alpha starts. None: the defaults.

    Raises:
        ConfigError: a parameter has no role, a scale no kind, or the rules are for another sort of method.
    """
    kinds = roles(model)
    scales = {name: module for name, module in model.named_modules() if isinstance(module, Scale)}
    # By its class, because another's update may have any size, whatever it is called.
    known = model.optimizers.adam_only or (rules.by_kind and type(model.optimizers) is MuonInBlocks)
    if rules.adam_only and not known:
        raise ConfigError(
            f"param.rules: muP and nuGPT are rules for AdamW, muP for Muon too, and this method's optimizer is "
            f"{model.parts.optimizer}; take sp, or lend it another with --seams.optimizer"
        )
    if rules.adam_only:
        _check_widths(model, kinds)
        _check_starts(model, scales)
    if rules.normalized_only:
        _check_normalized(model, scales)
    optim = optim or OptimConfig()
    _start_alpha(scales, rules, optim.alpha_init)
    model.initial, model.width_ratio = initial(optim.init), rules.width_ratio
    model.std_factors = rules.std_factors
    model.hidden_divisor = rules.hidden_divisor
    if rules.by_scale:
        for name, scale in scales.items():
            rule = rules.by_scale[scale_kind(name)]
            scale.init = (scale.init if rule.start is None else rule.start) * rule.init
            scale.scale = scale.scale if rule.stored is None else rule.stored


def _check_widths(model: Decoder, kinds: dict[str, Role]) -> None:
    """Check that rules over width cover the model's matrices."""
    if model.head is model.E_in:
        raise ConfigError(
            f"param.rules: muP and nuGPT treat embedding and head differently, and this method has one matrix for both (head is "
            f"{model.parts.head}); take sp"
        )
    inner = [name for name, kind in kinds.items() if kind is Role.INNER]
    if inner:
        raise ConfigError(
            f"param.rules: muP and nuGPT know matrices that read or write the stream, and {inner[0]} does neither; take sp"
        )


def _check_starts(model: Decoder, scales: dict[str, Scale]) -> None:
    """Refuse scales whose start follows from the width.

    The rules leave where a scale starts and how fast it moves as the method has them, which is right where it multiplies entries
    that are as large at all widths, as theirs are. A factor of sqrt(d_model) on the embedding makes the stream grow with the
    width. A nonlinearity that bends at a fixed size then bends more in wider models, and no rule for its slope is known to us.
    """
    dims = model.dims
    # By the constructor, because sizes are another record in an exported model.
    sizes = {name: getattr(dims, name) for name in Dims.__annotations__}
    wider = {"d_model": 2 * dims.d_model, "num_heads": 2 * dims.num_heads, "d_ff": 2 * dims.d_ff}
    with torch.device("meta"):
        twin = dict(Decoder(Dims(**(sizes | wider)), model.parts).named_modules())
    for name, scale in scales.items():
        if isinstance(other := twin.get(name), Scale) and other.init != scale.init:
            raise ConfigError(
                f"param.rules: muP and nuGPT hold the stream to one size at all widths, and {name} starts at {scale.init:.4g} "
                f"here and at {other.init:.4g} at twice the width; take sp"
            )


def _start_alpha(scales: dict[str, Scale], rules: Rules, start: float | None) -> None:
    rates = [
        scale for name, scale in scales.items() if start is not None and scale_kind(name) is ScaleKind.RATE
    ]
    if start is None:
        return
    if not rates:
        raise ConfigError(f"optim.alpha_init {start}: this method has no learned alpha; leave it out")
    if rules.by_scale and rules.by_scale[ScaleKind.RATE].start is not None:
        raise ConfigError(
            f"optim.alpha_init {start}: param.base_layers sets where alpha starts; leave one of them out"
        )
    for scale in rates:
        scale.init = start


def _check_normalized(model: Decoder, scales: dict[str, Scale]) -> None:
    if isinstance(model.parts.after_step, FreeWeights):
        raise ConfigError(
            "param.rules nugpt: it is for methods that constrain their weights, and this one leaves them free "
            "(after_step is FreeWeights); take mup, or another method"
        )
    if not any(scale_kind(name) is ScaleKind.LOGITS for name in scales):
        raise ConfigError(
            "param.rules nugpt: it starts the logits' scale s_z at a value of its own, and this method has none "
            "(logits is not ScaledLogits); take mup, or another method"
        )
