"""The experiment `paper-05b` with a billion parameters: 36 layers of width 1280 (arXiv:2410.01131, table 2).

Command: as for `paper-05b`, whose text and settings this has, then `ngptlab compare paper-1b`.
Hardware: as there; `ngptlab plan paper-1b --gpu H100` estimates memory, disk and time. At a context of 4096 the paper's nGPT came
in 20,000 steps to where its GPT was after 200,000 (figure 1). At 8192 it started alpha at 0.1 instead of 0.05.
"""

from dataclasses import replace

from ngptlab.config import DeviceConfig, Dims
from ngptlab.recipes import Recipe
from ngptlab.recipes.paper_05b import recipe as smaller


def recipe() -> Recipe:
    """The paper's larger model."""
    found = smaller()
    changes = {
        "name": "paper-1b",
        "model": Dims(vocab_size=50_304, num_layers=36, num_heads=20, d_model=1280, d_ff=5120),
        "device": DeviceConfig(micro_batch=8),
    }
    return replace(found, config=found.config.model_copy(update=changes))
