"""How threads wait is set before torch is imported, and a user's own choice stands."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ngptlab.threads import TOLD_BY

SHOW = "import os; print(*(os.environ.get(name, '-') for name in ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY')))"


@pytest.mark.parametrize(
    ("before", "environment", "expected"),
    [
        ("from ngptlab.cli import main; main(['recipes'])", {}, "1000 -"),
        ("import ngptlab; ngptlab.RunConfig", {}, "1000 -"),
        ("import ngptlab", {}, "- -"),
        ("import ngptlab; ngptlab.RunConfig", {"OMP_WAIT_POLICY": "ACTIVE"}, "- ACTIVE"),
        ("import ngptlab; ngptlab.RunConfig", {"GOMP_SPINCOUNT": "7"}, "7 -"),
        ("import sys; sys.modules['torch'] = sys; import ngptlab; ngptlab.RunConfig", {}, "- -"),
    ],
)
def test_threads_sleep_soon_unless_told_otherwise(
    before: str, environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in TOLD_BY:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    said = subprocess.run(
        [sys.executable, "-c", f"{before}\n{SHOW}"], capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines()[-1] == expected
