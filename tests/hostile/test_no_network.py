"""No network is needed, and none is used that was not asked for."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import ngptlab
import no_network

PACKAGE = Path(ngptlab.__file__).parents[1]
ALONE = ("unshare", "--net")


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("example.org", 443), ("2001:db8::1", 80)])
def test_the_wall_stands(address: tuple[str, int]) -> None:
    """Addresses of documentation, which nobody has."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as made:
        for way in (made.connect, made.connect_ex):
            with pytest.raises(no_network.NoNetwork, match="a test has no network"):
                way(address)
    with socket.socket(family, socket.SOCK_DGRAM) as made, pytest.raises(no_network.NoNetwork):
        made.sendto(b"x", address)
    with pytest.raises(OSError, match="a test has no network"):
        socket.create_connection(address, timeout=1)
    assert len(no_network.tried) == 4
    no_network.tried.clear()


def test_the_loopback_is_here() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()[:2], timeout=5):
            pass
        with socket.create_connection(("localhost", server.getsockname()[1]), timeout=5):
            pass
    for host in ("127.0.0.1", "::1", "localhost", b"localhost", "", None):
        assert no_network.is_own_name(host)
    for host in ("10.0.0.1", "example.org", "127.0.0.1.example.org", "::2", "0.0.0.0"):
        assert not no_network.is_own_name(host)


def can_be_alone() -> bool:
    if shutil.which(ALONE[0]) is None:
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True).returncode == 0


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_train_report_and_export_without_any_network(work: Path, tiny: list[str]) -> None:
    """In a process whose kernel has no interface that is up, so nothing that any library does gets out."""
    if not can_be_alone():
        pytest.skip("no right to make a network namespace (unshare --net)")
    train = ["train", "demo", *tiny, "--out", "run"]
    code = (
        "import socket\n"
        "from ngptlab.cli import main\n"
        f"lines = {[train, *map(str.split, AFTERWARDS)]!r}\n"
        "for line in lines:\n"
        "    assert main(line) == 0, line\n"
        "try:\n"
        "    socket.create_connection(('192.0.2.1', 80), timeout=2)\n"
        "except OSError as error:\n"
        "    print('alone:', error.strerror)\n"
    )
    done = subprocess.run(
        [*ALONE, sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(PACKAGE), "HF_HUB_OFFLINE": "0"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "alone: Network is unreachable" in done.stdout


AFTERWARDS = (
    "eval run --evals val length --factor 2 --documents 3",
    "report run --out page",
    "export run folder",
    "import folder back",
    "ledger runs.jsonl --add run",
    "claims run --out judged",
    "sample run the --max-tokens 3",
    "plan demo",
)
