"""GPT against nGPT on the Python standard library's source, byte by byte: minutes on two cores, offline.

Command: `ngptlab compare demo`. Both arms train on the same 2.46M tokens, less than a quarter of the text, so that
nothing is seen twice. Validation is on whole files that training never sees.
The learning rates are each arm's best on one grid, inside it for both (seed 0, 2026-11-23, two cores,
results/demo-lr-grid.json). The two methods with Muon have a grid of their own (2026-11-27, results/demo-muon-lr.csv).
"""

from ngptlab.config import Dims, EvalConfig, RunConfig, ScheduleConfig, TrainConfig
from ngptlab.recipes import Recipe, Tuned

LR_GRID = (2**-10, 2**-9, 2**-8, 2**-7, 2**-6)
MUON_GRID = (2**-9, 2**-8, 2**-7, 2**-6, 2**-5)


def recipe() -> Recipe:
    """The demo."""
    return Recipe(
        config=RunConfig(
            name="demo",
            method="gpt",
            model=Dims(vocab_size=257, num_layers=4, num_heads=4, d_model=96),
            schedule=ScheduleConfig(shape="wsd", cooldown_frac=0.3),
            train=TrainConfig(steps=600, batch_size=32, context=128),
            eval=EvalConfig(
                every=50, val_tokens=131_072, windows="spread", length_factor=8, length_documents=64
            ),
        ),
        methods=("gpt", "ngpt"),
        tuned={
            "gpt": Tuned(lr=2**-9, lr_grid=LR_GRID),
            "ngpt": Tuned(lr=2**-7, lr_grid=LR_GRID),
            "muon": Tuned(lr=2**-7, lr_grid=MUON_GRID),
            "ngpt_muon": Tuned(lr=2**-7, lr_grid=MUON_GRID),
        },
    )
