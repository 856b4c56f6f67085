"""Records as frames of pandas, which is an extra: scripts and notebooks want them, and nothing else here does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ngptlab.errors import ConfigError

if TYPE_CHECKING:
    import pandas


def frame(records: Iterable[Mapping[str, Any]]) -> pandas.DataFrame:
    """A row a record, a column a field, in the order in which they come.

    Raises:
        ConfigError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise ConfigError(
            "frames need pandas: pip install 'ngptlab[pandas]', or take the records as they are: run.read('metrics')"
        ) from None
    return pandas.DataFrame.from_records(list(records))
