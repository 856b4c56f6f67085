"""The experiment `fineweb-162m` at width 64 with one head: 7M parameters, of which 6.4M are embedding and head.

Command: `ngptlab data get fineweb10B --shards 26`, then `ngptlab compare fineweb-7m`; both in the same folder.
Hardware: any GPU. Time: 6.9e16 operations an arm, an hour at 2e13 a second; an estimate, nobody has measured it yet.
Expected: validation loss 4.568 nats for gpt and 4.556 for the normalized arm, crossing at about step 4450. Source: figures of
alxndrTL/modded-nanogpt, read to ± 0.005, one seed. Its README calls this model 71M; no width in its history gives that, and
width 64 gives 7.1M, to which such a loss belongs. That run's learning rate is not recorded; here it is fineweb-162m's.
"""

from ngptlab.config import DeviceConfig, Dims
from ngptlab.recipes import Recipe
from ngptlab.recipes.fineweb_162m import recipe as larger


def recipe() -> Recipe:
    """The replication's small experiment."""
    found = larger()
    changes = {
        "name": "fineweb-7m",
        "model": Dims(vocab_size=50_304, num_layers=12, num_heads=1, d_model=64),
        "device": DeviceConfig(micro_batch=64),
    }
    return Recipe(config=found.config.model_copy(update=changes), methods=found.methods, tuned=found.tuned)
