"""GPT against nGPT on the Python standard library's source, byte by byte: minutes on two cores, offline.

Command: `ngptlab compare demo`. Both arms train on the same 2.46M tokens, less than a quarter of the text, so that
nothing is seen twice. Validation is on whole files that training never sees.
Learning rate, weight decay, initial scale and the start of alpha are each arm's best in one search, with 27 runs for each
(seed 0, 2026-11-30, searches/17971147.json); a comparison begins with seed 1. The replication's nGPT and GPT with a norm of
queries and keys were searched in the same way over the same values; their descents ended after 25 runs
(searches/0f051c4d.json) and 20 (searches/c9d11c0a.json). The two methods with Muon have a grid of
learning rates of their own (2026-11-27, results/demo-muon-lr.csv), which is no search.
"""

from ngptlab.config import Dims, EvalConfig, RunConfig, ScheduleConfig, TrainConfig
from ngptlab.recipes import Recipe, Tuned

SEARCH = "17971147"
SEARCH_MODDED = "0f051c4d"
SEARCH_QK_NORM = "c9d11c0a"
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
            "gpt": Tuned(
                lr=2**-8,
                settings={"optim.init": "std:0.1", "optim.weight_decay": 0.3},
                search=SEARCH,
                first_seed=1,
            ),
            "ngpt": Tuned(
                lr=2**-7,
                settings={"optim.init": "std:0.02", "optim.weight_decay": 0.1, "optim.alpha_init": 0.1},
                search=SEARCH,
                first_seed=1,
            ),
            "ngpt_modded": Tuned(
                lr=2**-7,
                settings={"optim.init": "std:0.05", "optim.weight_decay": 0.03, "optim.alpha_init": 0.1},
                search=SEARCH_MODDED,
                first_seed=1,
            ),
            "qk_norm": Tuned(
                lr=2**-8,
                settings={"optim.init": "std:0.1", "optim.weight_decay": 0.3},
                search=SEARCH_QK_NORM,
                first_seed=1,
            ),
            "muon": Tuned(lr=2**-7, lr_grid=MUON_GRID),
            "ngpt_muon": Tuned(lr=2**-7, lr_grid=MUON_GRID),
        },
    )
