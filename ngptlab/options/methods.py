"""Methods on a command line: by name, or by the path of anybody's own file, which is read here and now."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from ngptlab.method_files.sources import given


class Methods(argparse.Action):
    """Stores the names of one or several methods; a path becomes the name that configs have for its file.

    An action and not a type, because argparse would put other words in place of the error's.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        named = given(values) if isinstance(values, str) else [given(each) for each in values or ()]
        setattr(namespace, self.dest, named)


def in_fields(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides of a config whose methods are names.

    Raises:
        ConfigError: a path is no method's file.
    """
    return {
        path: given(value) if path == "method" or path.startswith("seams.") else value
        for path, value in overrides.items()
    }
