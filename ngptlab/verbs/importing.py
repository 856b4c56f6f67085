"""The verb `import`: a run made of an exported model, or of a checkpoint of a public implementation."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from ngptlab.errors import ConfigError
from ngptlab.options.types import count, positive
from ngptlab.terminal import say, say_path

IMPLEMENTATIONS = ("modded-nanogpt", "nvidia-ngpt")
FOR_BOTH = ("tokenizer", "end_of_text")
"""Options that exports take, too."""


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
        help="read a file of torch.save: its tensors, plain values and records of them, no more",
    )
    parser.add_argument(
        "--num-heads", type=count, metavar="N", help="attention heads, where a checkpoint says nothing"
    )
    parser.add_argument(
        "--base-width", type=count, metavar="N", help="muP's base, where it was trained with muP"
    )
    parser.add_argument(
        "--base-scale",
        type=positive,
        metavar="X",
        help="NVIDIA's base_scale, where a checkpoint says nothing",
    )
    parser.add_argument(
        "--context",
        type=count,
        metavar="N",
        help="tokens in its training sequences, where a checkpoint says nothing (1024)",
    )
    parser.add_argument(
        "--tokenizer",
        metavar="NAME",
        help="what its tokens are: gpt2, bytes, or a tokenizer.json (gpt2 where its vocabulary is that one's); of an "
        "export: where the tokenizer.json that it was trained with lies now",
    )
    parser.add_argument(
        "--end-of-text",
        metavar="TOKEN",
        help="of a tokenizer.json: the token before every document, where the file has none that is known",
    )
    parser.add_argument(
        "--data-source", metavar="S", help="text to measure it on, as in `data.source` (none)"
    )


def act(options: argparse.Namespace) -> int:
    """Import, and say what is known of the result."""
    from ngptlab.export.foreign import ImportOptions, import_foreign
    from ngptlab.export.imported import import_export

    names = [field.name for field in fields(ImportOptions)]
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.implementation:
        run, notes = import_foreign(
            options.source,
            options.out,
            options.implementation,
            ImportOptions(**given),
            may_unpickle=options.allow_pickle,
        )
        say(f"method {run.config.method}")
        for note in notes:
            _tell(note)
    else:
        foreign = [name for name in given if name not in FOR_BOTH]
        if foreign or options.allow_pickle:
            name = "allow-pickle" if options.allow_pickle else foreign[0].replace("_", "-")
            raise ConfigError(f"--{name}: is for checkpoints of other implementations; give --from too")
        run = import_export(options.source, options.out, options.tokenizer, options.end_of_text, tell=_tell)
    say_path(run.path)
    return 0


def _tell(note: str) -> None:
    say(f"note: {note}")
