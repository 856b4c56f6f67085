"""Rules that judge claims. A rule is a frozen record: its parameters name the methods, its code selects the evidence."""

from ngptlab.claims.rules.losses import Costs as Costs
from ngptlab.claims.rules.losses import LowerLoss as LowerLoss
from ngptlab.claims.rules.losses import StepNotNeeded as StepNotNeeded
from ngptlab.claims.rules.losses import TurnsInCooldown as TurnsInCooldown
from ngptlab.claims.rules.models import BetterAtTasks as BetterAtTasks
from ngptlab.claims.rules.models import BetterConditioned as BetterConditioned
from ngptlab.claims.rules.models import FallsWithDepth as FallsWithDepth
from ngptlab.claims.rules.models import LevelsOff as LevelsOff
from ngptlab.claims.rules.models import RisesLess as RisesLess
from ngptlab.claims.rules.models import ScaleBetween as ScaleBetween
from ngptlab.claims.rules.models import StaysFlat as StaysFlat
from ngptlab.claims.rules.rates import HigherUnderRules as HigherUnderRules
from ngptlab.claims.rules.rates import RateMoves as RateMoves
from ngptlab.claims.rules.rates import SameRate as SameRate
from ngptlab.claims.rules.savings import FactorGrows as FactorGrows
from ngptlab.claims.rules.savings import SavesTokens as SavesTokens
from ngptlab.claims.rules.times import StepTakes as StepTakes
