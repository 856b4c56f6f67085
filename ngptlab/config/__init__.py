"""What a run is: its records (`records`), and how they are read, written and compared (`text`). Imports no torch."""

from ngptlab.config.draws import Initial, initial
from ngptlab.config.frozen import Frozen, Section
from ngptlab.config.records import (
    SEEDS,
    CheckpointConfig,
    DataConfig,
    DeviceConfig,
    Dims,
    EvalConfig,
    OptimConfig,
    ParamConfig,
    RunConfig,
    ScheduleConfig,
    cooldown_steps,
)
from ngptlab.config.seams import SeamsConfig
from ngptlab.config.text import blank, differences, dump, explain, flatten, load, parse
from ngptlab.config.training import TrainConfig

__all__ = [
    "SEEDS",
    "CheckpointConfig",
    "DataConfig",
    "DeviceConfig",
    "Dims",
    "EvalConfig",
    "Frozen",
    "Initial",
    "OptimConfig",
    "ParamConfig",
    "RunConfig",
    "ScheduleConfig",
    "SeamsConfig",
    "Section",
    "TrainConfig",
    "blank",
    "cooldown_steps",
    "differences",
    "dump",
    "explain",
    "flatten",
    "initial",
    "load",
    "parse",
]
