"""GPT against nGPT as the replication trained them: 162M parameters, 2.5B tokens of FineWeb, WSD.

Command: `ngptlab data get fineweb10B --shards 26`, then `ngptlab compare fineweb-162m`; both in the same folder. To see that
all of it works on two cores, without data: `ngptlab compare fineweb-162m --smoke`.
Hardware: a GPU with 16 GB or more (`ngptlab plan fineweb-162m` estimates memory, disk and time). Time: 2.0e18 operations an
arm. An H200 did 386,000 tokens/s of ngpt in 60 steps, which is 1.8 hours; nobody has trained it to its end yet.
Expected: validation loss 3.392 nats for gpt and 3.328 for the normalized arm, which is behind until about step 3900 and
passes in the cooldown. Source: figures of alxndrTL/modded-nanogpt, read to ± 0.005, one seed; its gpt curve is joined from
two runs. The settings are those of its train_ngpt2.py, and so is the method: `--methods gpt ngpt` compares the paper's.
Its loader drops the end of a file that fills no batch and meets its first batch twice; here no token is dropped or repeated.
Both arms have one learning rate, said to come from a sweep at width 64 that was not recorded, so no grid stands here.
"""

from ngptlab.config import (
    CheckpointConfig,
    DataConfig,
    DeviceConfig,
    Dims,
    EvalConfig,
    OptimConfig,
    RunConfig,
    ScheduleConfig,
    TrainConfig,
)
from ngptlab.recipes import Recipe

STEPS = 4768
COOLDOWN_STEPS = 1450


def recipe() -> Recipe:
    """The replication's main experiment."""
    return Recipe(
        config=RunConfig(
            name="fineweb-162m",
            method="gpt",
            model=Dims(vocab_size=50_304, num_layers=12, num_heads=12, d_model=768),
            data=DataConfig(source="shards:data/fineweb10B", tokenizer="gpt2", order="sequential"),
            optim=OptimConfig(lr=2**-9, betas=(0.9, 0.95), grad_clip=1.0),
            schedule=ScheduleConfig(
                shape="wsd", cooldown_frac=COOLDOWN_STEPS / STEPS, cooldown_shape="linear"
            ),
            train=TrainConfig(steps=STEPS, batch_size=512, context=1024),
            eval=EvalConfig(every=125, val_tokens=10_485_760),
            checkpoint=CheckpointConfig(every=500),
            device=DeviceConfig(micro_batch=16),
        ),
        methods=("gpt", "ngpt_modded"),
        tuned={},
    )
