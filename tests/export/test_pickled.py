"""Files of `torch.save`: a trainer's own classes are read as records, and whatever acts is refused, named, and not run."""

from __future__ import annotations

import collections
import dataclasses
import enum
import os
import posix
import subprocess
import sys
import types
import zipfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ngptlab import CheckpointError
from ngptlab.export.pickled import Record, read_pickled


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes a class in a module that is there while a test saves, and gone when it reads."""
    module = types.ModuleType("model")

    def make(kind: type, name: str | None = None) -> Any:
        monkeypatch.setitem(sys.modules, "model", module)
        kind.__module__, kind.__qualname__ = "model", name or kind.__name__
        setattr(module, kind.__qualname__, kind)
        return kind

    return make


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Path]:
    def save(content: Any) -> Path:
        path = tmp_path / "ckpt.pt"
        torch.save(content, path)
        monkeypatch.delitem(sys.modules, "model", raising=False)
        return path

    return save


def refusal(path: Path) -> str:
    """The one line of an error, which is torch's neither in colour nor in advice."""
    with pytest.raises(CheckpointError) as caught:
        read_pickled(path)
    text = str(caught.value)
    assert text.isprintable() and len(text) < 500
    assert "weights_only" not in text and "allowlist" not in text and "Please" not in text
    return text


def test_objects_of_a_trainer_s_own_classes_are_records(
    trainer: Callable[..., Any], saved: Callable[[Any], Path]
) -> None:
    ran: list[str] = []

    @dataclasses.dataclass
    class GPTConfig:
        n_head: int = 2
        base_scale: float = 0.5

        def __post_init__(self) -> None:
            ran.append("init")

        def __setattr__(self, name: str, value: Any) -> None:
            ran.append(name)
            object.__setattr__(self, name, value)

        def __setstate__(self, state: dict[str, Any]) -> None:
            ran.append("setstate")

    @dataclasses.dataclass
    class Slots:
        __slots__ = ("n_layer",)
        n_layer: int

    class Pair(collections.namedtuple("Pair", "a b")):
        __slots__ = ()

    content = {
        "config": trainer(GPTConfig)(),
        "slots": trainer(Slots)(3),
        "pair": trainer(Pair)(1, 2),
        "options": Namespace(lr=0.1),
        "kind": GPTConfig,
        "weight": torch.ones(2),
    }
    path = saved(content)
    ran.clear()
    found = read_pickled(path)
    assert ran == [] and "model" not in sys.modules
    config = found["config"]
    assert type(config) is not GPTConfig and isinstance(config, Record) and config.origin == "model.GPTConfig"
    assert config.fields == {"n_head": 2, "base_scale": 0.5} and repr(found["kind"]) == "model.GPTConfig"
    assert found["slots"].fields == {"n_layer": 3} and found["pair"].unnamed == (1, 2)
    assert found["options"].origin == "argparse.Namespace" and found["options"].fields == {"lr": 0.1}
    assert found["weight"].equal(torch.ones(2))


def test_numpy_s_arrays_and_numbers_are_read(saved: Callable[[Any], Path]) -> None:
    content = {"rng": np.random.RandomState(0).get_state(), "loss": np.float64(2.5), "step": np.int64(7)}
    found = read_pickled(saved(content))
    assert (found["loss"], found["step"]) == (2.5, 7) and (found["rng"][1] == content["rng"][1]).all()


class Calls:
    """What an object of this class asks a reader to call."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.wanted = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.wanted

    def __call__(self) -> None:
        """Only what can be called may stand first in what `__reduce__` gives."""


class Colour(enum.Enum):
    RED = 1


def test_whatever_has_to_be_called_is_named_and_not_called(
    tmp_path: Path, saved: Callable[[Any], Path]
) -> None:
    marker = tmp_path / "marker"
    touch = f"touch {marker}"
    script = f"open({str(marker)!r}, 'w').close()"
    for function, arguments, name in (
        (os.system, (touch,), "posix.system"),
        (posix.system, (touch,), "posix.system"),
        (subprocess.Popen, (["touch", str(marker)],), ".Popen"),  # its module has had two names
        (subprocess.check_output, (["touch", str(marker)],), ".check_output"),
        (exec, (script,), "exec"),
        (eval, (f"open({str(marker)!r}, 'w')",), "eval"),
        (__import__, ("os",), "__import__"),
        (getattr, ("", "join"), "getattr"),
        (Path.touch, (marker,), "getattr"),
        (open, (str(marker), "w"), "open"),
        (Calls(os.system, touch), (), "posix.system"),
    ):
        for content in (Calls(function, *arguments), {"model": {"a": [Calls(function, *arguments)]}}):
            assert name in refusal(saved(content)), name
            assert not marker.exists(), name
    with pytest.raises(FileNotFoundError):
        torch.load(saved(Calls(open, str(tmp_path / "none" / "x"))), weights_only=False)


def test_harmless_classes_that_are_made_by_a_call_are_named_too(saved: Callable[[Any], Path]) -> None:
    for content, name in (
        (Path("out"), "PosixPath"),
        (Colour.RED, "Colour"),
        (collections.defaultdict(list), "collections.defaultdict"),
        (types.SimpleNamespace(a=1), "SimpleNamespace"),
    ):
        text = refusal(saved({"config": content}))
        assert name in text and "would have to be called" in text


def test_states_of_a_way_of_their_own_are_named(
    trainer: Callable[..., Any], saved: Callable[[Any], Path]
) -> None:
    class Odd:
        def __getstate__(self) -> Any:
            return [1, 2]

    class Config(dict[str, int]):
        pass

    trainer(Config, "MyConfig")
    odd, config = trainer(Odd)(), Config(a=1)
    assert "model.MyConfig" in refusal(saved({"config": config}))
    trainer(Odd)
    text = refusal(saved({"config": odd}))
    assert "model.Odd" in text and "a way of its own" in text


# --- pickles that no `save` writes --------------------------------------------------------------------------------------


def archive(path: Path, pickle: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    """A checkpoint of this very pickle."""
    with zipfile.ZipFile(path, "w", compression) as made:
        made.writestr("archive/data.pkl", pickle)
        made.writestr("archive/byteorder", "little")
        made.writestr("archive/version", "3\n")
    return path


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + len(raw).to_bytes(4, "little") + raw


START, NAMED = b"\x80\x02", b"cmodel\nThing\n"
NEW = NAMED + b")\x81"  # an object of it, without arguments


def hostile() -> Iterator[tuple[str, bytes, str]]:
    """(what it tries, its pickle, what the error names)."""
    call = b"csubprocess\nPopen\n" + text("true") + b"\x85R"
    yield "a call", START + call + b".", "subprocess.Popen"
    yield (
        "a call of the class after it was taken for a record",
        START + NEW + NAMED + b")R\x86.",
        "model.Thing",
    )
    yield "a call in a field", START + NEW + b"}" + text("a") + call + b"sb.", "subprocess.Popen"
    yield (
        "a call through torch's own rebuilding",
        (
            START
            + b"ctorch._tensor\n_rebuild_from_type_v2\n(cbuiltins\nexec\ncmodel\nThing\n"
            + text("x=1")
            + b"\x85}tR."
        ),
        "builtins.exec",
    )
    yield (
        "a call as a tensor is looked at",
        (
            START
            + b"ctorch._tensor\n_rebuild_from_type_v2\n(ccollections\nOrderedDict\ncmodel\nThing\n)}"
            + text("a")
            + b"K\x01stR."
        ),
        "as_subclass",
    )
    yield "items of a record", START + NEW + text("a") + b"K\x01s.", "model.Thing"
    yield "entries of a record", START + NEW + b"K\x01a.", "model.Thing"
    yield "the class itself as an object", START + NAMED + b"}" + text("x") + b"K\x01sb.", "Can only build"
    yield "a state that is an object", START + NEW + NEW + b"b.", "model.Thing"
    yield "a name of control characters", START + b"cmodel\n\x1b[31mThing\n)R.", "x1b"
    yield "what torch blocks", START + b"cos\nsystem\n.", "os.system"
    yield "a class by its code", START + b"\x82\x01.", "operand 130"


@pytest.mark.parametrize(("pickle", "named"), [pytest.param(p, n, id=i) for i, p, n in hostile()])
def test_hostile_pickles_are_named(tmp_path: Path, pickle: bytes, named: str) -> None:
    assert named in refusal(archive(tmp_path / "ckpt.pt", pickle))


def test_names_that_would_change_an_object_are_fields(tmp_path: Path) -> None:
    names = ("__class__", "__setstate__", "__reduce__", "fields", "origin", "__dict__")
    state = b"}" + b"".join(text(name) + b"K\x07s" for name in names)
    for built in (state + b"b", b"N" + state + b"\x86b", state + state + b"\x86b"):
        found = read_pickled(archive(tmp_path / "ckpt.pt", START + NEW + built + b"."))
        assert found.origin == "model.Thing" and found.fields == dict.fromkeys(names, 7)
        assert Record.origin == ""


def test_a_name_that_is_not_called_stays_a_name(tmp_path: Path) -> None:
    for module, name in (("builtins", "exec"), ("subprocess", "Popen"), ("no_such_module", "f")):
        pickle = START + f"c{module}\n{name}\n".encode() + b"."
        found = read_pickled(archive(tmp_path / "ckpt.pt", pickle))
        assert isinstance(found, type) and issubclass(found, Record) and repr(found) == f"{module}.{name}"
        with pytest.raises(Exception, match="would have to be called"):
            found("x")


def test_bombs_are_refused(tmp_path: Path) -> None:
    packed = archive(tmp_path / "ckpt.pt", START + text("a" * 100_000) + b".", zipfile.ZIP_DEFLATED)
    assert "torch.save compresses none" in refusal(packed)
    many = START + b"(" + b"".join(b"cmodel\nThing%d\n" % number for number in range(300)) + b"t."
    assert "300 unknown classes" in refusal(archive(tmp_path / "ckpt.pt", many))


def test_other_files_are_named(tmp_path: Path, saved: Callable[[Any], Path]) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert "a FIFO" in refusal(fifo) and "a device" in refusal(Path("/dev/zero"))
    assert "a folder" in refusal(tmp_path) and "No such file" in refusal(tmp_path / "none")
    path = tmp_path / "other.pt"
    for content in (b"", b"nothing", b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.", b"PK\x03\x04"):
        path.write_bytes(content)
        assert "damaged" in refusal(path)
    whole = saved({"a": torch.ones(1000)}).read_bytes()
    for length in (100, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:length])
        assert "damaged" in refusal(path)
    with zipfile.ZipFile(archive(path, START + b"N."), "a") as scripted:
        scripted.writestr("archive/constants.pkl", START + b"N.")
    assert "TorchScript" in refusal(path)
    torch.save({"a": 1}, path, pickle_protocol=4)
    assert "operand" in refusal(path)
    torch.save({"a": Namespace(b=1)}, path, _use_new_zipfile_serialization=False)
    assert "argparse.Namespace" in refusal(path)
