"""Payloads for one kind of file each: what is wrong in them is found only by who reads that kind."""

from __future__ import annotations

import base64
import bz2
import hashlib
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import zstandard
from payloads import (
    Payload,
    Touch,
    alias_bomb,
    content,
    fixed,
    npy,
    npy_header,
    sparse,
    tensor,
    tensors,
    torch_file,
)

from ngptlab.config import load, parse
from ngptlab.config.method_name import name_of
from ngptlab.data.prepare.datatrove_steps import Block
from ngptlab.data.shards.record import read_record, write_record

NAMES = (
    "../victim",
    "/etc/passwd",
    "..",
    "a\0b",
    "․․/victim",  # one dot leaders
    "．．／victim",  # full width
    "a" * 4096,
    "<script>alert(1)</script>",
    "\x1b]0;owned\x07",
    "\u202egpj.exe",
    "=cmd|' /C calc'!A0",
    "CON",
    "-rf",
    "",
)


class Own(NamedTuple):
    """A payload, and a part of what is said of it."""

    payload: Payload
    said: str = ""
    reads: slice = slice(0, 1)
    """What of all that reads the kind meets it."""
    mended: bool = False
    """Whether it once did harm; then it is in `make test`, whatever its place."""


def changed(change: Callable[[Any], Any]) -> Payload:
    """The JSON that is there, or its first line, with a change."""

    def put(path: Path, _: Path) -> None:
        first, *more = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        value = json.loads(first)
        value = change(value) or value
        path.write_text("\n".join([json.dumps(value), *more]) + "\n")

    return put


def deep(levels: int = 900) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def with_fields(**fields: Any) -> Payload:
    return changed(lambda value: {**value, **fields})


def unsigned(**fields: Any) -> Payload:
    """A manifest without the digest of its own, which earlier versions had not."""

    def change(value: dict[str, Any]) -> None:
        value |= fields
        del value["sha256"]

    return changed(change)


def elsewhere_in_files(value: dict[str, Any]) -> None:
    value["files"]["../../../victim"] = {"bytes": 1, "sha256": "0"}
    del value["sha256"]


def in_section(section: str, **fields: Any) -> Payload:
    return changed(lambda value: {**value, section: {**value[section], **fields}})


def named(field: str) -> dict[str, Payload]:
    """Odd names in a field, by what they are."""
    return {f"{field} {name[:20]!a}": with_fields(**{field: name}) for name in NAMES}


def many_steps(record: dict[str, Any]) -> None:
    """A record of a run of 2^50 steps, of which each had a learning rate."""
    record["config"]["train"]["steps"] = record["metrics"]["steps"] = 2**50
    record["hash"] = parse(record["config"], origin="a test").hash


def elsewhere(manifest: dict[str, Any]) -> None:
    """A shard beside the folder, not in it."""
    del manifest["sha256"]
    manifest["splits"]["train"]["shards"][0]["file"] = "../../victim.bin"


def huge_shard(manifest: dict[str, Any]) -> None:
    del manifest["sha256"]
    manifest["splits"]["train"]["shards"][0]["tokens"] = 2**62


def shard(magic: int, version: int, tokens: int, size: int) -> bytes:
    return struct.pack("<3i", magic, version, tokens) + bytes(size)


def charsmap_bomb(file: dict[str, Any]) -> None:
    steps = [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}] * 12
    file["normalizer"] = {"type": "Sequence", "normalizers": steps}


def method_of_a_stranger(path: Path, marker: Path) -> None:
    """Code under the very name that the run's config has for it."""
    code = f"import os\nos.system('touch {marker}')\nfrom ngptlab.methods.gpt import METHOD\n".encode()
    name, config = name_of("my_idea", code), path.parents[1] / "config.json"
    (path.parent / f"{name}.py").write_bytes(code)
    fields = json.loads(config.read_text())
    config.write_text(json.dumps({**fields, "method": name}))
    (config.parent / "summary.json").unlink()  # which would say that the config was changed, as would these
    for manifest in config.parent.glob("checkpoints/*/manifest.json"):
        unsigned(config_hash=load(config).hash)(manifest, marker)


def indexed(make: Callable[[Path], bytes]) -> Payload:
    """An index of a block, with its digest in the block's record."""

    def put(path: Path, marker: Path) -> None:
        path.write_bytes(make(marker))
        about = path.with_suffix(".json")
        record = read_record(about, Block)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        write_record(about, record.model_copy(update={"index_sha256": sha256}))

    return put


def exported(weights: bytes) -> Payload:
    """Weights of an export, with their digest in its provenance."""

    def put(path: Path, _: Path) -> None:
        path.write_bytes(weights)
        about = path.with_name("ngptlab.json")
        facts = json.loads(about.read_text())
        facts["weights_sha256"] = hashlib.sha256(weights).hexdigest()
        about.write_text(json.dumps(facts))

    return put


def saved(weights: bytes) -> Payload:
    """A file of a checkpoint, with its digest in the manifest."""

    def put(path: Path, _: Path) -> None:
        path.write_bytes(weights)
        about = path.with_name("manifest.json")
        facts = json.loads(about.read_text())
        facts["files"][path.name] = {
            "bytes": len(weights),
            "sha256": hashlib.sha256(weights).hexdigest(),
        }
        del facts["sha256"]
        about.write_text(json.dumps(facts))

    return put


ABSURD_TENSORS = {
    "a header of 2^63 bytes": tensors({}, length=2**63),
    "a header of 100 MB that is not there": tensors({}, length=100 << 20),
    "a shape that overflows": tensors(tensor([2**32, 2**32, 2**32], 0, 0)),
    "a shape of 2^60 with no data": tensors(tensor([2**60], 0, 2**62)),
    "a negative shape": tensors(tensor([-1], 0, 4), bytes(4)),
    "holes": tensors(tensor([1], 2**40, 2**40 + 4), bytes(4)),
    "an unknown dtype": tensors(tensor([1], 0, 4, "F99"), bytes(4)),
    "10^5 keys": tensors(
        {f"k{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(100_000)}
    ),
    "a deep header": tensors(b"[" * 100_000),
    "names of paths": tensors(
        {"../../victim": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)
    ),
    "no header at all": b"\x80\x02}q\x00.",
}

NOT_FITTING = dict.fromkeys(("10^5 keys", "names of paths"), "does not fit")
"""What is a sound file of other weights, and said to be one."""
EVERY = slice(None)
OWN: dict[str, dict[str, Own]] = {
    "config, YAML": {
        "a tag of a call": Own(
            content(lambda marker: f"name: !!python/object/apply:os.system ['touch {marker}']\n"), "the tag"
        ),
        "a tag of a module": Own(fixed("!!python/module:os {}\n"), "the tag"),
        "a billion laughs": Own(fixed(alias_bomb()), "an alias"),
        "16,000 lists in each other": Own(fixed("- " * 16_000), "in each other"),
        **{f"method {name[:20]!a}": Own(with_fields(method=name)) for name in NAMES},
    },
    "config, JSON": {
        "2^53 steps": Own(in_section("train", steps=2**53), reads=EVERY),
        "a model of 2^52 values": Own(in_section("model", d_model=2**30, d_ff=2**30), reads=EVERY),
        "2^50 validations": Own(in_section("eval", every=1, val_tokens=2**50), reads=EVERY),
        "a source of NUL": Own(in_section("data", source="text:a\0b"), "U+0000"),
        "a source of a device": Own(in_section("data", source="text:/dev/zero"), reads=EVERY),
    },
    "run: config.json": {
        **{f"method {name[:20]!a}": Own(with_fields(method=name)) for name in NAMES},
        **{f"name {name[:20]!a}": Own(with_fields(name=name)) for name in ("../victim", "<b>", "")},
        "2^53 steps": Own(in_section("train", steps=2**53), reads=slice(0, 3)),
    },
    "run: env.json": {
        "a nest of 900": Own(with_fields(zzz=deep()), reads=slice(0, 3)),
        "no numbers": Own(
            with_fields(threads={"a": []}, stacked="x", device_name=["<script>"]), reads=slice(0, 3)
        ),
    },
    "run: summary.json": {
        "a nest of 900": Own(with_fields(reason=deep()), reads=slice(0, 3)),
        "another kind of everything": Own(
            with_fields(step="x", params=[], streams=7, config_hash={}), reads=slice(0, 3)
        ),
    },
    "run: fork.json": {
        "no JSON": Own(fixed("{"), "damaged", slice(0, 1), True),
        "a list": Own(fixed("[]"), "damaged"),
    },
    "run: metrics.jsonl": {
        "a line of a GB": Own(sparse, "has a line of more than", slice(1, 2)),
        "400 digits": Own(fixed('{"step": ' + "9" * 400 + ', "loss_nats": 1}\n'), reads=slice(0, 2)),
        "a step of 10^99": Own(with_fields(step=10**99), reads=slice(0, 2)),
    },
    "checkpoint: manifest.json": {
        "a file elsewhere": Own(changed(elsewhere_in_files), "lists other files"),
        "changed": Own(with_fields(step=3), "its own sha256"),
        "a step of 10^99": Own(unsigned(step=10**99), "damaged"),
        "DCP's metadata": Own(
            content(lambda marker: pickle.dumps({"state_dict_metadata": Touch(marker)}, protocol=4)),
            "damaged",
        ),
    },
    "checkpoint: model.safetensors": {
        name: Own(saved(made), NOT_FITTING.get(name, "damaged")) for name, made in ABSURD_TENSORS.items()
    },
    "method, a copy": {
        "code of a stranger": Own(method_of_a_stranger, "never given by path on this machine"),
        "another method": Own(
            content(lambda marker: f"import os\nos.system('touch {marker}')\n"),
            "changed since it was copied",
            EVERY,
        ),
    },
    "ledger": {
        "2^50 learning rates": Own(changed(many_steps), "columns of another length", slice(0, 3), True),
        "a name elsewhere": Own(in_section("config", name="../victim"), "name", slice(0, 3)),
        "a result elsewhere": Own(
            changed(lambda r: {**r, "measured": {"../../victim": {}}}), "can't be the name", slice(0, 3)
        ),
        "a method's file that it brings": Own(
            with_fields(methods={"../../evil@000000000000": "x"}), "is not what the config names", slice(0, 3)
        ),
        "a nest of 900": Own(with_fields(env=[deep()]), "nested too deeply", slice(0, 3)),
    },
    "shards: manifest.json": {
        "a shard elsewhere": Own(changed(elsewhere), "is no manifest", EVERY, True),
        "2^62 tokens": Own(changed(huge_shard), "tokens for train", EVERY),
    },
    "shards: .bin": {
        "2^31 tokens": Own(fixed(shard(20240520, 1, 2**31 - 1, 1024)), "truncated"),
        "a negative number of tokens": Own(fixed(shard(20240520, 1, -500, 12)), "1024"),
        "another magic number": Own(fixed(shard(-1, 1, 0, 1012)), "not a shard"),
    },
    "text: .jsonl": {
        "lists in lists": Own(fixed('{"text": ' + "[" * 100_000), "not JSON"),
        "half a pair": Own(fixed('{"text": "\\ud800"}\n'), "not valid Unicode"),
    },
    "text: .jsonl.zst": {
        "a zstd bomb": Own(fixed(zstandard.compress(bytes(1 << 30), 3)), "has more than"),
        "a window of 2^41": Own(fixed(b"\x28\xb5\x2f\xfd\x00\xf8" + bytes(20)), "zstd data"),
    },
    "tokenizer.json": {
        "steps that grow a text": Own(changed(charsmap_bomb), "may make a text"),
        "a vocabulary of 2^32": Own(in_section("model", vocab={"a": 0, "</s>": 2**32 - 1}), "tokenizer.json"),
    },
    "tiktoken's cache": {
        "a token that is no text": Own(fixed(base64.b64encode(b"x" * 100) + b" 99999999999999\n"), "gpt2"),
    },
    "the hub's cache": {"no UTF-8": Own(fixed(b"\x80abc"), mended=True)},
    "preparation: block.npy": {
        "objects": Own(indexed(npy), "damaged or not there"),
        "not what was written": Own(content(npy), "changed since"),
        "2^60 rows": Own(
            indexed(lambda _: npy_header("{'descr': '<i8', 'fortran_order': False, 'shape': (2**60,), }")),
            "damaged or not there",
        ),
        "2^50 rows": Own(
            indexed(
                lambda _: npy_header(f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({2**50},), }}")
            ),
            "damaged or not there",
        ),
        "a header of 4 GB": Own(
            indexed(lambda _: b"\x93NUMPY\x02\x00\xff\xff\xff\xff"), "damaged or not there", mended=True
        ),
        "code for a header": Own(
            indexed(lambda marker: npy_header(f"__import__('os').system('touch {marker}')")),
            "damaged or not there",
        ),
    },
    "export: ngptlab.json": {
        "a nest of 900": Own(with_fields(env={"a": deep()}), "nested too deeply"),
        "another kind of everything": Own(with_fields(step=-1, params="x", measured=[1]), "damaged"),
        **{f"method {name[:20]!a}": Own(in_section("config", method=name), "hash") for name in NAMES[:5]},
    },
    "export: config.json": {
        "its own code": Own(with_fields(auto_map={"AutoConfig": "../../evil.Config"})),
        "2^50 layers": Own(with_fields(num_layers=2**50), "is not what was exported"),
    },
    "export: model.safetensors": {
        name: Own(exported(made), NOT_FITTING.get(name, "can't be read"))
        for name, made in ABSURD_TENSORS.items()
    },
    "foreign .safetensors": {name: Own(fixed(made), "ngptlab:") for name, made in ABSURD_TENSORS.items()},
    "foreign .pt": {"a call": Own(content(torch_file), "posix.system", slice(0, 2))},
    "task, .txt.bz2": {"a bz2 bomb": Own(fixed(bz2.compress(bytes(512 << 20))), "unpacks to more than")},
    "table, .csv": {
        "more cells than columns": Own(fixed("run,step\n" + "a," * 1000 + "\n")),
        "a cell of a MB": Own(fixed("run,step\n" + "a" * (1 << 20) + ",1\n"), "damaged"),
    },
    "search.json": {"a nest of 900": Own(with_fields(space=[deep()]), "no search")},
}
