"""GPT against nGPT on the Python standard library's source, byte by byte: minutes on two cores, offline."""

from ngptlab.config import Dims, EvalConfig, RunConfig, ScheduleConfig, TrainConfig
from ngptlab.recipes import Recipe


def recipe() -> Recipe:
    """The demo."""
    return Recipe(
        config=RunConfig(
            name="demo",
            method="gpt",
            model=Dims(vocab_size=257, num_layers=4, num_heads=4, d_model=96),
            schedule=ScheduleConfig(shape="wsd", cooldown_frac=0.3),
            train=TrainConfig(steps=600, batch_size=32, context=128),
            eval=EvalConfig(every=50, val_tokens=131_072, length_factor=8, length_documents=64),
        ),
        methods=("gpt", "ngpt"),
        tuned={},
    )
