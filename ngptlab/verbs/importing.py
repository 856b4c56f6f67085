"""The verb `import`: a run made of an exported model, or of a checkpoint of a public implementation."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from ngptlab.errors import ConfigError
from ngptlab.terminal import say, say_path
from ngptlab.verbs.types import count

IMPLEMENTATIONS = ("modded-nanogpt", "nvidia-ngpt")


def add(parser: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    parser.add_argument(
        "source", type=Path, metavar="SOURCE", help="a folder that `export` wrote, or a checkpoint"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="a new run directory")
    parser.add_argument(
        "--from",
        dest="implementation",
        choices=IMPLEMENTATIONS,
        help="SOURCE is a checkpoint of alxndrTL/modded-nanogpt, or of NVIDIA's nGPT",
    )
    parser.add_argument(
        "--allow-pickle",
        action="store_true",
        help="read a file of torch.save: its tensors and plain values, no more",
    )
    parser.add_argument(
        "--num-heads", type=count, metavar="N", help="attention heads, where a checkpoint says nothing"
    )
    parser.add_argument(
        "--base-width", type=count, metavar="N", help="muP's base, where it was trained with muP"
    )
    parser.add_argument("--context", type=count, metavar="N", help="tokens in its training sequences (1024)")
    parser.add_argument("--tokenizer", choices=("gpt2", "bytes"), help="what its tokens are (gpt2)")
    parser.add_argument(
        "--data-source", metavar="S", help="text to measure it on, as in `data.source` (none)"
    )


def act(options: argparse.Namespace) -> int:
    """Import, and say what is known of the result."""
    from ngptlab.export.foreign import Told, import_foreign
    from ngptlab.export.imported import import_export

    names = [field.name for field in fields(Told)]
    told = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.implementation:
        run, note = import_foreign(
            options.source,
            options.out,
            options.implementation,
            Told(**told),
            may_unpickle=options.allow_pickle,
        )
        say(f"method {run.config.method}; note: {note}")
    else:
        if told or options.allow_pickle:
            name = "allow-pickle" if options.allow_pickle else next(iter(told)).replace("_", "-")
            raise ConfigError(f"--{name}: is for checkpoints of other implementations; give --from too")
        run = import_export(options.source, options.out)
    say_path(run.path)
    return 0
