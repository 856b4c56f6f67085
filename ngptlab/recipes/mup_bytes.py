"""Does the best learning rate stay where it is when the model gets wider? Bytes, widths 64 to 768, under SP and muP.

Command: `ngptlab sweep mup-bytes`, 120 runs: one GPU and about a day, not measured yet. The sizes are those of the
replication's figures: 4 layers, heads of width 64, 128 x 256 bytes a step, 4000 steps, the last fifth a 1-sqrt cooldown.
It read WikiText-103; here the text is the standard library's source, met about a dozen times, unless
`--data.source text:PATH` gives more of it. Expected, from the replication (one seed, another text): under SP the best
learning rate of gpt falls from 2^-8.5 at width 64 to 2^-12 at 768, ngpt's from 2^-7 to about 2^-9; under muP both hardly move.
"""

from ngptlab.config import Dims, EvalConfig, RunConfig, ScheduleConfig, TrainConfig
from ngptlab.recipes import Recipe, Sweep


def recipe() -> Recipe:
    """The replication's grid."""
    return Recipe(
        config=RunConfig(
            name="mup-bytes",
            method="gpt",
            model=Dims(vocab_size=257, num_layers=4, num_heads=1, d_model=64),
            schedule=ScheduleConfig(shape="wsd", cooldown_frac=0.2, cooldown_shape="1-sqrt"),
            train=TrainConfig(steps=4000, batch_size=128, context=256),
            eval=EvalConfig(every=1000, length_documents=0),
        ),
        methods=("gpt", "ngpt"),
        tuned={},
        sweep=Sweep(
            widths=(64, 256, 768),
            lrs=tuple(2.0**power for power in range(-13, -3)),
            params=("sp", "mup"),
            base_width=64,
        ),
    )
