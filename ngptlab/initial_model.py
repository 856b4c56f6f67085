"""The model of a config as it is before the first step."""

from __future__ import annotations

import torch

from ngptlab import methods
from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError, LabError
from ngptlab.nn.decoder import Decoder, Parts


def initial_model(config: RunConfig) -> Decoder:
    """The model of a config before its first step.

    Raises:
        ConfigError: its settings don't fit its method.
    """
    parts = methods.load(config.method, config.seams.lenders)
    if config.seams.lenders:
        check_together(parts, config)
    stored_dtype = torch.bfloat16 if config.train.weights_dtype == "bfloat16" else None
    return methods.build_model(
        parts,
        config.model,
        seed=config.seed,
        param=config.param,
        optim=config.optim,
        stored_dtype=stored_dtype,
    )


def check_together(parts: Parts, config: RunConfig) -> None:
    """Run a mixture of parts once, on sizes alone.

    Raises:
        ConfigError: parts of several methods don't fit each other.
    """
    try:
        with torch.device("meta"), torch.no_grad():
            Decoder(config.model, parts)(torch.zeros(1, 2, dtype=torch.long))
    except LabError:
        raise
    except Exception as error:  # whatever a part raises in company it was not written for is the answer here
        said = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{config.arm}: parts of these methods don't fit each other ({type(error).__name__}: {said}); lend other seams"
        ) from None
