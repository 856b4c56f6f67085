"""Does the best learning rate stay where it is when the model gets wider? Bytes, widths 32 to 128, for two cores.

STEPESTIMATE
"""

from ngptlab.config import Dims, EvalConfig, RunConfig, ScheduleConfig, TrainConfig
from ngptlab.recipes import Recipe, Sweep


def recipe() -> Recipe:
    """A grid for two cores."""
    return Recipe(
        config=RunConfig(
            name="mup-bytes-small",
            method="gpt",
            model=Dims(vocab_size=257, num_layers=4, num_heads=2, d_model=32),
            schedule=ScheduleConfig(shape="wsd", cooldown_frac=0.2, cooldown_shape="1-sqrt"),
            train=TrainConfig(steps=500, batch_size=16, context=128),
            eval=EvalConfig(every=500, val_tokens=131_072, length_documents=0),
        ),
        methods=("gpt", "ngpt"),
        tuned={},
        sweep=Sweep(
            widths=(32, 64, 128),
            lrs=(2**-10, 2**-9, 2**-8, 2**-7, 2**-6),
            params=("sp", "mup", "nugpt"),
            base_width=32,
        ),
    )
