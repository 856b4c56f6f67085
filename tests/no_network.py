"""A wall around the tests: nothing of this process reaches another machine, and a test that tries fails.

Code of other languages and processes that a test starts don't go through it; tests/hostile/test_no_network.py has a process
with no network at all.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ngptlab.data.tokens.choose import tokenizer
from ngptlab.data.tokens.tokenizer import Tokenizer
from ngptlab.errors import DataError

tried: list[str] = []
"""Where this process wanted to go, since it was last looked at."""


class NoNetwork(OSError):
    """What a machine without a network says."""


def is_here(address: Any) -> bool:
    """Whether an address of a socket is of this machine: a path, or a loopback."""
    if isinstance(address, str | bytes):
        return True
    return is_own_name(address[0])


def is_own_name(host: Any) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost", "localhost.localdomain", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


def refuse(where: Any) -> NoNetwork:
    tried.append(str(where))
    return NoNetwork(errno.ENETUNREACH, f"a test has no network: {where}")


def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
    """A socket's method that takes an address last."""

    def only_here(self: socket.socket, *given: Any) -> Any:
        # A datagram without an address goes where the socket was connected to.
        address = next((each for each in reversed(given) if isinstance(each, tuple)), None)
        if self.family in (socket.AF_INET, socket.AF_INET6) and address is not None and not is_here(address):
            raise refuse(address)
        return call(self, *given)

    return only_here


@pytest.fixture(scope="session", autouse=True)
def wall() -> Iterator[None]:
    """Built once; every test is behind it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
        find = socket.getaddrinfo

        def only_own(host: Any, *given: Any, **named: Any) -> Any:
            if not is_own_name(host):
                raise refuse(host)
            return find(host, *given, **named)

        patch.setattr(socket, "getaddrinfo", only_own)
        yield


@pytest.fixture(autouse=True)
def nothing_leaves(wall: None) -> Iterator[None]:
    """A library may take the refusal for a bad day of its server and go on."""
    tried.clear()
    yield
    assert not tried, f"wanted to reach {', '.join(tried[:3])}"


def gpt2_or_skip() -> Tokenizer:
    """GPT-2's vocabulary where this machine has it. Its library would fetch it, which is why the test is skipped elsewhere."""
    try:
        return tokenizer("gpt2")
    except DataError as error:
        tried.clear()
        pytest.skip(str(error))
