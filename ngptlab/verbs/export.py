"""The verb `export`: a trained model as a folder that `transformers` loads, and on the hub where asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from ngptlab.errors import ConfigError
from ngptlab.options.types import size
from ngptlab.terminal import say, say_path


def add(parser: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    parser.add_argument("folder", type=Path, metavar="DIR", help="a new folder for the model")
    parser.add_argument("--step", type=size, metavar="N", help="checkpoint to export (default: the newest)")
    parser.add_argument(
        "--as",
        dest="form",
        choices=("ngptlab", "llama"),
        default="ngptlab",
        help="`ngptlab` brings the model's code along; `llama` needs none, where the model is one (default: ngptlab)",
    )
    parser.add_argument(
        "--push", metavar="REPO", help="also upload the folder to the Hugging Face hub as NAME/REPO"
    )
    parser.add_argument("--public", action="store_true", help="make a new REPO public (default: private)")


def act(options: argparse.Namespace) -> int:
    """Export, then upload: a refusal by the hub leaves a whole folder."""
    from ngptlab.config import DeviceConfig
    from ngptlab.export.push import push
    from ngptlab.export.write import export
    from ngptlab.trained import open_trained

    if options.public and not options.push:
        raise ConfigError("--public: says how --push makes a repository, and there is no --push")
    trained = open_trained(options.run, step=options.step, device=DeviceConfig(kind="cpu"))
    say_path(export(trained, options.folder, options.form))
    if options.push:
        say(push(options.folder, options.push, public=options.public))
    return 0
