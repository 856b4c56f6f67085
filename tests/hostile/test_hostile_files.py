"""What a stranger may have put in place of any file that is read: nothing of it is run, and it costs little.

make test     every kind of file with one payload, and every payload of its own kind
make faults   every kind with every payload
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import template
from contained import ADDRESSES, BEYOND, MARKER, MEMORY, Ended, contained
from kinds import KINDS, MORE_MEMORY, Read
from own_payloads import OWN
from payloads import ANYWHERE, Payload

import ngptlab.report.page  # noqa: F401
from ngptlab.evidence.files import readers
from ngptlab.studies import recognize

SECONDS = 10.0
"""Of a core, for any of them; a page with its figures takes four."""
VICTIM = "somebody's"
BY_ALL = ("a pickle", "lists in lists, closed", "null", "escape sequences", "a script")
"""Payloads that meet all that reads a kind; the others meet what is quickest."""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The template."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NGPTLAB_CACHE", str(folder.parent / "cache-of-home"))
        template.make(folder)
    # What every process would import for itself.
    recognize.pages(), list(readers())
    yield folder


@pytest.fixture
def place(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with somebody's file in it, and a copy of the template, `inside`, in which one works."""
    monkeypatch.setenv("COLUMNS", "150")
    for name in ("victim", "victim.bin", "evil.py"):
        (tmp_path / name).write_text(VICTIM)
    return tmp_path


def met(home: Path, place: Path, kind: str, payload: Payload, read: Read) -> Ended:
    """What came of a payload that was read."""
    inside, at = place / "inside", KINDS[kind].at
    shutil.rmtree(inside, ignore_errors=True)
    shutil.copytree(home, inside)
    with contextlib.chdir(inside):
        KINDS[kind].before()
    path = next(inside.glob(at))
    payload(path, place / MARKER)
    ended = contained(read, inside)
    memory = MEMORY + MORE_MEMORY.get(kind, 0)
    assert not (place / MARKER).exists(), "it was run"
    assert ended.code in (0, 1, 2), f"{ended.code}: {ended.said[-3000:]}"
    assert (
        "Traceback (most recent" not in ended.said and "\x1b" not in ended.said and "\x9b" not in ended.said
    )
    assert "not enough memory" not in ended.said, "it takes more than there is"
    assert ended.grown < memory and ended.seconds < SECONDS, (ended.grown >> 20, ended.seconds)
    assert {each.name: each.read_text() for each in place.glob("*[!d]") if each.is_file()} == {
        name: VICTIM for name in ("victim", "victim.bin", "evil.py")
    }, "it escaped"
    return ended


def one_each() -> Iterator[tuple[str, str]]:
    """Every kind once and every payload once or twice."""
    names = list(ANYWHERE)
    for number, kind in enumerate(KINDS):
        yield kind, names[number % len(names)]


@pytest.mark.parametrize(("kind", "name"), list(one_each()))
def test_every_kind_meets_a_payload(kind: str, name: str, home: Path, place: Path) -> None:
    met(home, place, kind, ANYWHERE[name], KINDS[kind].read[0])


def own() -> Iterator[Any]:
    """The first payload of each kind, and those that once did harm; the others are in `make faults`."""
    for kind, payloads in OWN.items():
        for number, (name, one) in enumerate(payloads.items()):
            later = () if one.mended or not number else (pytest.mark.faults,)
            yield pytest.param(kind, name, marks=later, id=f"{kind}-{name}")


@pytest.mark.parametrize(("kind", "name"), list(own()))
def test_every_payload_of_its_own_kind(kind: str, name: str, home: Path, place: Path) -> None:
    one = OWN[kind][name]
    for read in KINDS[kind].read[one.reads]:
        assert one.said in met(home, place, kind, one.payload, read).said


@pytest.mark.faults
@pytest.mark.parametrize("name", ANYWHERE)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_meets_every_payload(kind: str, name: str, home: Path, place: Path) -> None:
    for read in KINDS[kind].read if name in BY_ALL else KINDS[kind].read[:1]:
        met(home, place, kind, ANYWHERE[name], read)


# --- the walls are tried --------------------------------------------------------------------------------------------------


def runs_it(place: Path) -> int:
    (place / MARKER).touch()
    return 0


def takes_memory(size: int) -> int:
    return len(bytearray(size)) * 0


def raises() -> int:
    raise RecursionError


@pytest.mark.parametrize(
    ("act", "what"),
    [
        (lambda place: runs_it(place), "it was run"),
        (lambda place: takes_memory(MEMORY + (50 << 20)), "assert "),
        (lambda place: takes_memory(ADDRESSES + (50 << 20)), str(BEYOND)),
        (lambda place: raises(), "RecursionError"),
        (lambda place: print("\x1b[2J") or 0, "assert "),
        (lambda place: (place / "evil.py").write_text("x") * 0, "it escaped"),
        (lambda place: 3, "3: "),
    ],
)
def test_harm_is_seen(act: Any, what: str, home: Path, place: Path) -> None:
    with pytest.raises(AssertionError, match=what):
        met(home, place, "config, JSON", lambda path, marker: None, lambda: act(place))


def test_there_are_sixty() -> None:
    assert len(ANYWHERE) + sum(map(len, OWN.values())) >= 60
