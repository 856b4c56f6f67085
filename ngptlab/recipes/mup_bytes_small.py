"""Does the best learning rate stay where it is when the model gets wider? Bytes, widths 32 to 128, for two cores.

Command: `ngptlab sweep mup-bytes-small`, 90 runs of 400 steps (0.8M tokens each, nothing met twice), one process a core.
Time: about 80 minutes on two cores that had other work too, by the steps of 168 runs of 2026-11-24
(results/mup-bytes-small.csv); evaluating and starting come on top. Median seconds of a run at widths 32, 64 and 128: 15, 132
and 207 for gpt, 25, 92 and 162 for ngpt. The load of the machine decided much of that. Two seeds take twice as long. The 18
cells of gpt under nugpt are not counted: those rules refuse gpt. Result, with three seeds: docs/log.md,
2026-11-24. Under muP the optimum of gpt at 128 needs learning rates up to 2^-3.
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
            train=TrainConfig(steps=400, batch_size=16, context=128),
            eval=EvalConfig(every=400, val_tokens=65_536, length_documents=0),
        ),
        methods=("gpt", "ngpt"),
        tuned={},
        sweep=Sweep(
            widths=(32, 64, 128),
            lrs=(2**-10, 2**-9, 2**-8, 2**-7, 2**-6, 2**-5),
            params=("sp", "mup", "nugpt"),
            base_width=32,
        ),
    )
