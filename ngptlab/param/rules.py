"""SP, muP and nuGPT as tables from role to numbers.

m is d_model / base_width. Where m is 1, every table equals SP's, except for nuGPT's scales: how they are stored, and where
alpha starts if the rule over depth is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ngptlab.config import Dims, ParamConfig
from ngptlab.errors import ConfigError
from ngptlab.nn.optimizers import MuonInBlocks
from ngptlab.nn.roles import Role, ScaleKind

NUGPT_STORED = 0.03
"""nuGPT's constant in place of d_model^-0.5 (arXiv:2604.27077): a step of Adam then moves a scale equally at all widths."""


NUGPT_ALPHA = 0.05
"""Where nuGPT's alpha starts at the base depth."""


@dataclass(frozen=True)
class Rule:
    """Factors on SP's numbers for the parameters of a role."""

    init_std: float = 1.0
    """Factor on the initial std; 0: the matrix starts at zero."""
    lr: float = 1.0
    weight_decay: float = 1.0
    """Factor on AdamW's coefficient, which is multiplied by the learning rate in a step."""


@dataclass(frozen=True)
class ScaleRule:
    """How the scales of a kind start."""

    init: float = 1.0
    """Factor on the effective initial value."""
    start: float | None = None
    """Effective initial value before that factor; None: the method's own."""
    stored: float | None = None
    """Initial value of the parameter, hence 1 / speed; None: the method's own."""


@dataclass(frozen=True)
class Rules:
    """Everything a parametrization decides at one width."""

    by_role: dict[Role, Rule]
    """Of AdamW, and of every optimizer for which there are no others."""
    by_scale: dict[ScaleKind, ScaleRule] = field(default_factory=dict)
    """Rules of all kinds of scales; empty where scales start as the method has them."""
    by_kind: dict[str, dict[Role, Rule]] = field(default_factory=dict)
    """By the kind of another optimizer, those of the roles that it moves. Initial values are those of `by_role`."""
    width_ratio: float = 1.0
    """m: d_model over the base's d_model."""
    hidden_divisor: float = 1.0
    """Divisor of the hidden state before the head."""
    adam_only: bool = False
    """Whether the rules presuppose AdamW, because its updates don't grow with the gradients, or an optimizer of `by_kind`."""
    normalized_only: bool = False
    """Whether the rules presuppose constrained weights and scaled logits."""

    def __post_init__(self) -> None:
        assert set(self.by_role) == set(Role), "every role has one rule"
        for kind, rules in self.by_kind.items():
            same = all(rule.init_std == self.by_role[role].init_std for role, rule in rules.items())
            assert same, f"weights are drawn before {kind} moves them"
        assert set(self.by_scale) in (set(), set(ScaleKind)), "all kinds of scales, or none"

    def of(self, role: Role, kind: str) -> Rule:
        """The rule of a role that an optimizer of this kind moves."""
        return self.by_kind.get(kind, {}).get(role) or self.by_role[role]

    @property
    def std_factors(self) -> dict[Role, float]:
        """Factors on the initial std of matrices, where not 1."""
        return {role: rule.init_std for role, rule in self.by_role.items() if rule.init_std != 1}


def sp() -> Rules:
    """Standard parametrization: nothing depends on width."""
    return Rules({role: Rule() for role in Role})


def mup(m: float) -> Rules:
    """muP for Adam and for Muon (arXiv:2203.03466), with the base width's own initial values as the replication has it.

    At the base width nothing changes ("non-invasive"). The attention scale stays, because the head width does. The unembedding
    is drawn alike at all widths, because `hidden_divisor` has the factor 1/m on the logits. The replication starts it at zero,
    which is `optim.init std:0.02,unembedding=zero`. That holds at the base width too, because a base must start like its wider
    models. Decay grows as the learning rate falls, so that lr * decay stays the base's.

    An update of a hidden matrix is to have a spectral norm that stays with the width, as its output per entry then does
    (arXiv:2310.17813: the root of d_out / d_in, whose sizes grow alike here). AdamW's has entries of one size and few directions,
    so that its norm grows as m. Muon's is orthogonal, and scaled to AdamW's root mean square, by the root of the longer side
    (arXiv:2502.16982): its norm grows as the root of m, and its learning rate falls so. What AdamW moves beside it has AdamW's.
    """
    hidden = Rule(init_std=m**-0.5, lr=1 / m, weight_decay=m)
    orthogonal = Rule(init_std=m**-0.5, lr=m**-0.5, weight_decay=m**0.5)
    return Rules(
        {
            Role.EMBEDDING: Rule(),
            Role.UNEMBEDDING: Rule(),
            Role.READER: hidden,
            Role.WRITER: hidden,
            Role.INNER: hidden,
            Role.SCALE: Rule(),
        },
        by_kind={MuonInBlocks.name: dict.fromkeys(MuonInBlocks.roles, orthogonal)},
        width_ratio=m,
        hidden_divisor=m,
        adam_only=True,
    )


def nugpt(m: float, m_depth: float | None = None, m_data: float = 1.0) -> Rules:
    """nuGPT (arXiv:2604.27077): the paper's rules 2, 3, 5 and 7 over width, 6 over depth (where given), 1 over the horizon.

    m_depth is num_layers over the base's num_layers. m_data is the training tokens over the base's. s_z starts at sqrt(m), so
    that logits are equally large at all widths (lemma 6.8).
    """
    every = m_data ** (-1 / 3)
    wide = Rule(lr=every * m**-0.75)
    alpha = None if m_depth is None else NUGPT_ALPHA / m_depth
    return Rules(
        {
            Role.EMBEDDING: Rule(lr=every * m**-0.5),
            Role.UNEMBEDDING: wide,
            Role.READER: wide,
            Role.WRITER: wide,
            Role.INNER: wide,
            Role.SCALE: Rule(lr=every),
        },
        by_scale={
            ScaleKind.RATE: ScaleRule(start=alpha, stored=NUGPT_STORED),
            ScaleKind.QK: ScaleRule(stored=NUGPT_STORED),
            ScaleKind.GATE: ScaleRule(),
            ScaleKind.LOGITS: ScaleRule(init=m**0.5, stored=NUGPT_STORED),
        },
        width_ratio=m,
        adam_only=True,
        normalized_only=True,
    )


def rules(param: ParamConfig, dims: Dims, *, tokens: int | None) -> Rules:
    """The table of `param` for a model of `dims` that is trained on so many tokens.

    `tokens` None: for initial values alone; the factor of the horizon on learning rates is left out.

    Raises:
        ConfigError: the base has another head width than the model, so that width is not all that differs.
    """
    if param.rules == "sp":
        return sp()
    if param.base_width % dims.d_head:
        raise ConfigError(
            f"param.base_width {param.base_width} is no multiple of the head width {dims.d_head} "
            f"(model.d_model {dims.d_model} over model.num_heads {dims.num_heads}); {param.rules} widens a model by heads "
            "of one width: change model.num_heads, or the base"
        )
    m = dims.d_model / param.base_width
    if param.rules == "mup":
        return mup(m)
    m_depth = dims.num_layers / param.base_layers if param.base_layers else None
    m_data = tokens / param.base_tokens if param.base_tokens and tokens is not None else 1.0
    return nugpt(m, m_depth, m_data)
