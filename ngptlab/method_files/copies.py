"""Copies of methods' files beside the configs that name them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ngptlab import config as configs
from ngptlab import disk
from ngptlab.config import RunConfig, method_name
from ngptlab.errors import ConfigError
from ngptlab.folders import own
from ngptlab.method_files.sources import FILE_BYTES, find, known, names_in, read, take_copy, text_of

FOLDER = "methods"
"""The folder beside a config file that holds copies of the methods that it names."""
ORIGINS = "origins.json"
"""In that folder: where each copy was given from, so that a later change can be told."""


def load_config(path: Path, complete: Callable[[dict[str, Any]], None] | None = None) -> RunConfig:
    """A config from its file, with the copies beside it of methods that it names; `complete` as for `config.load`.

    Raises:
        ConfigError: as `config.load`; or a copy is not what the config names.
    """
    config = configs.load(path, complete)
    read_copies(path.parent, config)
    return config


def read_copies(folder: Path, config: RunConfig) -> None:
    """Read the copies in `folder`/methods of what the config names. One that is missing is asked for when it is to be run.

    Raises:
        ConfigError: a copy's content is not that which the config names, or it can't be read.
    """
    for name in names_in(config):
        path = folder / FOLDER / f"{name}.py"
        if os.path.lexists(path):
            content = read(path)
            if method_name.name_of(method_name.stem(name), content) != name:
                raise ConfigError(
                    f"{path}: changed since it was copied, and the config names another content; restore it, or give the changed "
                    "file by path under a name of its own (--method)"
                )
            take_copy(name, content, path)


def keep(folder: Path, config: RunConfig) -> None:
    """Copy what the config names into `folder`/methods, where it is missing.

    Raises:
        OSError: it can't be written.
    """
    copies = folder / FOLDER
    for name in names_in(config):
        source = find(name)
        if source is None or (copies / f"{name}.py").exists():
            continue
        own(copies)
        disk.write_new(copies / f"{name}.py", text_of(name))
        if source.given and disk.is_utf8(str(source.path)):
            disk.write_json(copies / ORIGINS, {**_origins(copies), name: str(source.path)})


def keep_text(folder: Path, name: str, text: str) -> None:
    """Put a copy that a record holds into `folder`/methods.

    Raises:
        OSError: it can't be written.
    """
    disk.write_new(own(folder / FOLDER) / f"{name}.py", text)


def texts_in(config: RunConfig) -> dict[str, str]:
    """The texts of a config's methods that are somebody's own files, of those that are known, by name."""
    return {name: text_of(name) for name in names_in(config) if find(name)}


def changed(folder: Path, config: RunConfig) -> list[str]:
    """A line for each copy beside a config whose original is still there and is another one by now."""
    origins, lines = _origins(folder / FOLDER), []
    for name in names_in(config):
        path = Path(str(origins.get(name, "")))
        with contextlib.suppress(OSError):
            content = disk.read_bytes(path, limit=FILE_BYTES)
            if method_name.name_of(method_name.stem(name), content) != name:
                lines.append(f"{path} was edited since: this run goes on with its copy, {FOLDER}/{name}.py")
    return lines


def in_place_of(config: RunConfig, folder: Path) -> tuple[RunConfig, list[str]]:
    """The config with a run's copies in place of files of the same stems that were edited since, and a line of each.

    A folder that holds no run, or one that differs in more, leaves it as it is.
    """
    if not names_in(config) or not (folder / "config.json").is_file():
        return config, []
    there = load_config(folder / "config.json")
    copies = {method_name.stem(name): name for name in names_in(there)}
    swapped = {name: copies.get(method_name.stem(name), name) for name in names_in(config)}
    seams = {seam: swapped.get(lender, lender) for seam, lender in config.seams.lenders.items()}
    older = config.model_copy(
        update={
            "method": swapped.get(config.method, config.method),
            "seams": config.seams.model_copy(update=seams),
        }
    )
    if older.hash != there.hash or older.hash == config.hash:
        return config, []
    edited = [known(name).path for name, copy in swapped.items() if name != copy]
    return older, [
        f"{path} was edited since {folder} began: it goes on with its copy; give another --out for the edited file"
        for path in edited
    ]


def _origins(copies: Path) -> dict[str, object]:
    try:
        return dict(disk.read_json(copies / ORIGINS))
    except (OSError, ValueError, TypeError):
        return {}
