"""How matrices are drawn, as a text that a grid can hold: `std:0.02`, `fan_in`, `fan_in:0.5,unembedding=zero`.

    std:S       normal with standard deviation S
    fan_in      normal with standard deviation d_in^-1/2, so that a product is as large as what goes in; `fan_in:F`, F times that
    zero        all zero

The first entry holds for every matrix, `ROLE=...` for the matrices of one role. d_in is the size of the last axis. An embedding
has d_model there, too, and its rows then have about unit norm. Writers are divided by sqrt(2 num_layers) besides, because
2 num_layers of them add up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ngptlab.config.read_number import read_number
from ngptlab.errors import nearest, shown

ROLES = ("embedding", "unembedding", "reader", "writer")
"""Roles of matrices (nn/roles.py)."""
FORMS = "std:NUMBER, fan_in, fan_in:NUMBER, zero"
USUAL_STD = 0.02
"""Standard deviation from which GPT-2 and the replication start, at every width."""


@dataclass(frozen=True)
class Draw:
    """A normal draw."""

    value: float
    by_fan_in: bool = False

    def std(self, fan_in: float) -> float:
        """Its standard deviation for a matrix with so many inputs."""
        return self.value * fan_in**-0.5 if self.by_fan_in else self.value

    @property
    def text(self) -> str:
        """The draw as a text that `initial` reads."""
        if self.value == 0:
            return "zero"
        if self.by_fan_in:
            return "fan_in" if self.value == 1 else f"fan_in:{self.value:g}"
        return f"std:{self.value:g}"


@dataclass(frozen=True)
class Initial:
    """How the matrices of each role are drawn."""

    every: Draw = Draw(USUAL_STD)
    by_role: tuple[tuple[str, Draw], ...] = ()
    """Roles that are drawn otherwise, in the order of `ROLES`."""

    def std(self, role: str, fan_in: float) -> float:
        """Standard deviation of a matrix of this role with so many inputs, before factors for depth and width."""
        return dict(self.by_role).get(role, self.every).std(fan_in)

    @property
    def text(self) -> str:
        """The text of these draws: one text for all that mean the same."""
        return ",".join([self.every.text, *(f"{role}={draw.text}" for role, draw in self.by_role)])


def initial(text: str) -> Initial:
    """Read a text.

    Raises:
        ValueError: it names no draws.
    """
    every, by_role = Draw(USUAL_STD), {}
    for number, part in enumerate(text.split(",")):
        role, equals, form = part.strip().rpartition("=")
        if equals and role in ROLES and role not in by_role:
            by_role[role] = _draw(form, text)
        elif equals:
            problem = f"{role} twice" if role in ROLES else f"no role {shown(role)}, {nearest(role, ROLES)}"
            raise ValueError(f"optim.init: given {shown(text)}, with {problem}")
        elif number == 0:
            every = _draw(form, text)
        else:
            raise ValueError(
                f"optim.init: given {shown(text)}; after a comma comes ROLE=..., with {', '.join(ROLES)}"
            )
    return Initial(every, tuple((role, by_role[role]) for role in ROLES if by_role.get(role, every) != every))


def _draw(form: str, text: str) -> Draw:
    kind, colon, number = form.strip().partition(":")
    try:
        value = float(read_number(number)) if colon else 1.0
    except ValueError:
        value = math.nan
    if kind == "zero" and not colon:
        return Draw(0.0)
    if kind == "fan_in" and math.isfinite(value) and value > 0:
        return Draw(float(f"{value:g}"), by_fan_in=True)
    if kind == "std" and colon and math.isfinite(value) and value > 0:
        return Draw(float(f"{value:g}"))
    raise ValueError(
        f"optim.init: given {shown(text)}; give {FORMS}, and others for a role after a comma, as reader=fan_in"
    )
