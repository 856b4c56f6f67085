"""GPT against nGPT as the nGPT paper trained them: half a billion parameters, OpenWebText, cosine (arXiv:2410.01131).

Command: `ngptlab data prepare hf:Skylion007/openwebtext --split train --tokenizer gpt2 --out data/openwebtext`, then
`ngptlab compare paper-05b`; both in the same folder. `--train.context 4096` or `8192` for the paper's longer contexts, `--smoke`
to see that all of it works on two cores, without data.
Hardware: the paper had 64 A100. `ngptlab plan paper-05b --gpu H100` estimates memory, disk and time; nobody has trained this
here. Runs are of 52 billion tokens, as in the paper's ablations, and read the text, some 9 billion, six times; `--train.steps`
for its others, up to 400 billion tokens.
Expected: 2.252 nats for ngpt (table 6), of LLaMA-2's 32,000 tokens. Here tokens are GPT-2's, whose loss has another scale, as in
the code that was released; for the paper's, `--model.vocab-size 32000 --data.tokenizer PATH` of their tokenizer.json.
Source: tables 2, 3 and 4. Betas and clipping are the released code's. The learning rate is the one of table 4. The paper's best
ones at each length are in a figure alone, 1e-3 to 3e-3 for both arms, so no grid stands here. Its norms have gains, ours none.
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


def recipe() -> Recipe:
    """The paper's smaller model."""
    return Recipe(
        config=RunConfig(
            name="paper-05b",
            method="gpt",
            model=Dims(vocab_size=50_304, num_layers=24, num_heads=16, d_model=1024, d_ff=4096),
            data=DataConfig(source="shards:data/openwebtext", tokenizer="gpt2"),
            optim=OptimConfig(lr=1e-3, betas=(0.9, 0.95), grad_clip=1.0),
            schedule=ScheduleConfig(shape="cosine"),
            train=TrainConfig(steps=100_000, batch_size=512, context=1024),
            eval=EvalConfig(every=1000, val_tokens=10_485_760),
            checkpoint=CheckpointConfig(every=2000),
            device=DeviceConfig(micro_batch=16),
        ),
        methods=("gpt", "ngpt"),
        tuned={},
        warmup_steps={"gpt": 2000},
    )
