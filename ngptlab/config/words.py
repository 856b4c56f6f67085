"""What people call the fields of a config: names of other libraries, and fields without their section. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from ngptlab.errors import near, nearest

NEAR = 0.7
"""How alike a single word must be; paths are longer, so that half of their letters tell as much."""
ALONE = {"device": "device.kind"}
"""Short names of fields that no rule gives."""
PROVENANCE = ("optim.lr_grid", "optim.search")
"""Fields that say where others come from. Nobody types them."""
WORDS = {
    "model.d_model": ("width", "hidden_size", "hidden_dim", "n_embd", "dim", "embed_dim", "model_dim"),
    "model.num_layers": ("layers", "depth", "n_layer", "n_layers", "num_hidden_layers"),
    "model.num_heads": ("heads", "n_head", "n_heads", "num_attention_heads"),
    "model.d_ff": ("ffn_dim", "mlp_width", "intermediate_size"),
    "model.vocab_size": ("vocab", "n_vocab"),
    "data.source": ("data", "dataset", "text", "corpus"),
    "optim.lr": ("learning_rate", "rate"),
    "optim.weight_decay": ("wd", "decay"),
    "optim.grad_clip": ("clip", "max_grad_norm", "gradient_clip"),
    "optim.betas": ("beta1", "beta2"),
    "schedule.warmup_steps": ("warmup", "warmup_iters"),
    "schedule.cooldown_frac": ("cooldown", "decay_frac"),
    "schedule.shape": ("schedule", "lr_schedule", "scheduler"),
    "train.steps": ("max_steps", "iters", "max_iters", "iterations", "num_steps"),
    "train.batch_size": ("batch", "bs"),
    "train.context": ("block_size", "seq_len", "sequence_length", "ctx", "max_length"),
    "train.compute_dtype": ("dtype", "precision", "amp", "bf16", "fp16"),
    "eval.every": ("eval_interval", "eval_every", "val_every"),
    "checkpoint.every": ("save_interval", "save_every", "checkpoint_every"),
    "checkpoint.asynchronous": ("async", "async_save", "async_checkpoint"),
    "device.kind": ("cuda", "gpu", "cpu"),
    "device.micro_batch": ("micro_batch_size", "grad_accum", "gradient_accumulation_steps"),
    "device.threads": ("num_threads",),
    "device.recompute": ("activation_checkpointing", "gradient_checkpointing", "checkpointing"),
    "device.shard": ("zero", "fsdp", "sharding"),
    "seed": ("random_seed",),
    "track": ("wandb", "tensorboard", "tracker", "logger"),
}
"""What other libraries call a field."""


def short(fields: Iterable[str]) -> dict[str, str]:
    """Fields by their name without the section, where no other section has one of that name: `lr` -> `optim.lr`.

    What other methods fill (`seams`) has no short name, because `norm` or `loss` say too little.
    """
    paths = [path for path in fields if not path.startswith("seams.") and path not in PROVENANCE]
    leaves = [path.rpartition(".")[2] for path in paths]
    found = {
        leaf: path
        for path, leaf in zip(paths, leaves, strict=True)
        if "." in path and leaves.count(leaf) == 1
    }
    return {**found, **{name: path for name, path in ALONE.items() if path in paths}}


def nearest_field(given: str, fields: Iterable[str]) -> str:
    """A hint for what is no field: the one that is called so elsewhere, else the one whose name is nearest."""
    paths = list(fields)
    known = {word: path for path, words in WORDS.items() if path in paths for word in words}
    known |= {leaf: path for leaf, path in short(paths).items()}
    section, _, leaf = given.rpartition(".")
    own = {path.rpartition(".")[2]: path for path in paths if section and path.startswith(f"{section}.")}
    for words in (own, known):
        if close := near(leaf, words, cutoff=NEAR):
            return f"did you mean {words[close]!r}?"
    return nearest(given, paths)
