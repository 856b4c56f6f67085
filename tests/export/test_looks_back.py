"""What a cache of transformers has no place for is refused, and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ngptlab.errors import ConfigError
from ngptlab.export.write import export
from ngptlab.trained import Trained


@pytest.mark.parametrize(
    ("method", "why"),
    [
        ("smear", r"embed \(_Smear\) looks back; use ngptlab sample"),
        ("meta_tokens", "embed has 16 positions before every text; use"),
    ],
)
def test_a_method_that_looks_back_is_refused(
    method: str, why: str, make_trained: Callable[..., Trained], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=why):
        export(make_trained(method), tmp_path / "out")
    assert not (tmp_path / "out").exists()
