"""Rules that judge claims. A rule is a frozen record: its parameters name the methods, its code selects the evidence."""

from ngptlab.claims.rules.losses import Costs, LowerLoss, StepNotNeeded, TurnsInCooldown
from ngptlab.claims.rules.models import (
    BetterAtTasks,
    BetterConditioned,
    FallsWithDepth,
    LevelsOff,
    RisesLess,
    ScaleBetween,
    StaysFlat,
)
from ngptlab.claims.rules.rates import HigherUnderRules, RateMoves, SameRate
from ngptlab.claims.rules.savings import FactorGrows, SavesTokens
from ngptlab.claims.rules.times import StepTakes

__all__ = [
    "BetterAtTasks",
    "BetterConditioned",
    "Costs",
    "FactorGrows",
    "FallsWithDepth",
    "HigherUnderRules",
    "LevelsOff",
    "LowerLoss",
    "RateMoves",
    "RisesLess",
    "SameRate",
    "SavesTokens",
    "ScaleBetween",
    "StaysFlat",
    "StepNotNeeded",
    "StepTakes",
    "TurnsInCooldown",
]
