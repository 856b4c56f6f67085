"""The verb `new`: the file of a new method, which starts from another one's seam table."""

from __future__ import annotations

import argparse
from pathlib import Path

from ngptlab import disk
from ngptlab.config.method_name import STEM
from ngptlab.errors import ConfigError, shown
from ngptlab.terminal import remark, say_path


def add(parser: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    parser.add_argument(
        "name", metavar="NAME", help="the method's name, as my_idea: the file is ./my_idea.py"
    )
    parser.add_argument(
        "--from",
        dest="base",
        required=True,
        metavar="METHOD",
        help="the method whose seam table it starts from (see `ngptlab methods`)",
    )


def act(options: argparse.Namespace) -> int:
    """Write the file; what has its name stays."""
    from ngptlab import methods
    from ngptlab.method_files.draft import draft
    from ngptlab.nn import blocks

    name, base = options.name, options.base
    if not STEM.fullmatch(name):
        raise ConfigError(f"new: given {shown(name)}; give a word of letters, digits and _, as my_idea")
    if name in methods.names():
        raise ConfigError(f"new {name}: a method of ngptlab/methods/ has that name; give another one")
    text = draft(name, base, methods.text(base), disk.read_text(Path(str(blocks.__file__))))
    path = Path(f"{name}.py")
    if not disk.write_new(path, text):
        raise ConfigError(f"{path}: is there; give another name, or remove it")
    say_path(path)
    remark(f"the seam table of {base} with an example in one seam; its comments say how to go on")
    return 0
