"""The record of a run: its hash, its checks across fields, and one-line errors for a wrong file."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ngptlab import ConfigError, Dims, Parts, RunConfig
from ngptlab.config import differences, dump, flatten, load, parse

CONFIG = RunConfig(name="x", method="gpt", model=Dims(vocab_size=17, num_layers=1, num_heads=2, d_model=8))

# Another valid value for every field there is.
SCIENCE: dict[str, Any] = {
    "name": "y",
    "method": "another",
    "seed": 1,
    **{f"seams.{field.name}": "another" for field in fields(Parts)},
    "model.vocab_size": 18,
    "model.num_layers": 2,
    "model.num_heads": 1,
    "model.d_model": 16,
    "model.d_ff": 11,
    "data.source": "text:folder",
    "data.tokenizer": "gpt2",
    "data.end_of_text": "</s>",
    "data.val_share": 0.1,
    "data.long_share": 0.1,
    "data.seed": 1,
    "data.order": "sequential",
    "optim.lr": 0.001,
    "optim.lr_grid": [0.001],
    "optim.betas": [0.9, 0.99],
    "optim.eps": 1e-9,
    "optim.weight_decay": 0.1,
    "optim.grad_clip": 2.0,
    "optim.init": "fan_in",
    "optim.alpha_init": 0.1,
    "param.rules": "nugpt",
    "param.base_width": 32,
    "param.base_layers": 2,
    "param.base_tokens": 1000,
    "schedule.shape": "cosine",
    "schedule.warmup_steps": 3,
    "schedule.cooldown_frac": 0.2,
    "schedule.cooldown_shape": "1-sqrt",
    "train.steps": 601,
    "train.batch_size": 16,
    "train.batch_stages": [0.5, 1.5],
    "train.context": 64,
    "train.compute_dtype": "float32",
    "train.weights_dtype": "bfloat16",
    "train.non_finite": "skip",
    "train.spikes": "skip",
    "eval.every": 51,
    "eval.val_tokens": 1000,
    "eval.windows": "spread",
    "eval.length_factor": 4,
    "eval.length_documents": 3,
}
ELSEWHERE: dict[str, Any] = {
    "checkpoint.every": 100,
    "checkpoint.keep": 3,
    "checkpoint.at": [7],
    "checkpoint.keep_every": 400,
    "checkpoint.keep_best": "on",
    "checkpoint.damaged": "stop",
    "checkpoint.asynchronous": "on",
    "eval.at": [7],
    "device.kind": "cpu",
    "device.threads": 2,
    "device.micro_batch": 8,
    "device.compile": "off",
    "device.graphs": "off",
    "device.recompute": "on",
    "device.shard": "optimizer",
    "device.timeout": 30.0,
    "optim.search": "0123abcd",
    "track": "wandb",
}


FIRST = "dadd12ef"
"""Hash of CONFIG, written down before `seams` and all later fields came."""
EARLIER = {"mup": "34b7c7a8", "nugpt": "3bd58707"}
"""Hashes of CONFIG with these rules at base width 64, written down before `base_layers` and `base_tokens` came; muP's before the
unembedding was drawn at every width."""
LATER = {
    "data.order",
    "data.end_of_text",
    "train.weights_dtype",
    "train.batch_stages",
    "train.non_finite",
    "train.spikes",
    "optim.init",
    "optim.alpha_init",
    "eval.windows",
}
"""Fields that came after the first runs; `param` and `seams` have tests of their own."""


def changed(path: str, value: Any) -> RunConfig:
    fields: dict[str, Any] = json.loads(dump(CONFIG))
    if path.startswith("param."):
        nugpt = path in ("param.base_layers", "param.base_tokens")
        fields["param"] = {"rules": "nugpt" if nugpt else "mup", "base_width": 64}  # none stands alone
    if path == "data.end_of_text":
        fields["data"]["tokenizer"] = "a/tokenizer.json"  # the others have their own
    *sections, leaf = path.split(".")
    record = fields
    for section in sections:
        record = record[section]
    record[leaf] = value
    return parse(fields, origin="test")


def message(fields: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse({"name": "x", "method": "gpt", "model": CONFIG.model.model_dump(), **fields}, origin="origin")
    text = str(caught.value)
    assert text.startswith("origin: ") and "\n" not in text
    return text


# --- hash -------------------------------------------------------------------------------------------------------------


def test_the_tables_here_name_every_field() -> None:
    assert sorted(SCIENCE | ELSEWHERE) == sorted(path for path, _ in flatten(CONFIG))


@pytest.mark.parametrize("path", SCIENCE)
def test_hash_changes_with_what_decides_numbers(path: str) -> None:
    other = changed(path, SCIENCE[path])
    assert other.hash != CONFIG.hash
    assert any(line.startswith(f"{path}: ") for line in differences(CONFIG, other))


@pytest.mark.parametrize("path", ELSEWHERE)
def test_hash_ignores_where_and_how_a_run_is_computed(path: str) -> None:
    other = changed(path, ELSEWHERE[path])
    assert other != CONFIG
    assert other.hash == CONFIG.hash and other.run_name == CONFIG.run_name
    assert differences(CONFIG, other) == []


def test_what_came_later_is_not_under_the_hash_at_its_default() -> None:
    """Runs made before these fields were there keep their hash."""
    paths = [path for path, _ in flatten(CONFIG.science())]
    assert "data.seed" in paths and not LATER & set(paths)
    assert not any(path.startswith("param.") for path in paths)
    assert changed("data.order", "sequential").science()["data"]["order"] == "sequential"
    assert changed("eval.windows", "first").hash == CONFIG.hash == FIRST
    assert changed("eval.windows", "spread").science()["eval"]["windows"] == "spread"


def test_only_what_changes_the_course_of_a_run_is_under_the_hash() -> None:
    """A warning is not. Where a run goes back to a checkpoint, when it saves is."""
    assert changed("train.spikes", "off").hash == CONFIG.hash
    back = changed("train.non_finite", "rewind")
    assert len({CONFIG.hash, back.hash, changed("train.non_finite", "skip").hash}) == 3
    fields = json.loads(dump(back))
    for name, value, same in (
        ("every", 100, False),
        ("at", [7], False),
        ("keep", 3, True),
        ("damaged", "stop", True),
    ):
        other = parse({**fields, "checkpoint": {**fields["checkpoint"], name: value}}, origin="test")
        assert (other.hash == back.hash) == same, name


def test_what_can_not_be_kept_is_refused() -> None:
    assert "multiple of checkpoint.every 200" in message({"checkpoint": {"keep_every": 300}})
    text = message({"checkpoint": {"keep_best": "on", "every": 30}})
    assert "checkpoint.keep_best" in text and "eval.every" in text


def test_run_name_is_readable() -> None:
    assert CONFIG.run_name == f"x-{CONFIG.method}-s0-{CONFIG.hash}"
    assert len(CONFIG.hash) == 8 and int(CONFIG.hash, 16) >= 0


# --- records ----------------------------------------------------------------------------------------------------------


def test_records_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        CONFIG.seed = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        CONFIG.model.d_ff = 1  # type: ignore[misc]


def test_d_ff_and_d_head_are_derived() -> None:
    assert Dims(vocab_size=1, num_layers=1, num_heads=12, d_model=768).d_ff == 2048
    assert Dims(vocab_size=1, num_layers=1, num_heads=1, d_model=64).d_ff == 170
    assert Dims(vocab_size=1, num_layers=1, num_heads=1, d_model=64, d_ff=5).d_ff == 5
    assert CONFIG.model.d_head == 4


def test_a_dumped_config_reads_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(dump(CONFIG))
    assert load(path) == CONFIG and load(path).hash == CONFIG.hash


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"train": {"step": 3}}, "'train.steps'"),
        ({"optim": {"learning_rate": 3}}, "optim.learning_rate is not a field"),
        ({"sed": 3}, "'seed'"),
        ({"schedule": {"warmup": 3}}, "'schedule.warmup_steps'"),
    ],
)
def test_unknown_field_gets_the_nearest(fields: dict[str, Any], hint: str) -> None:
    assert "is not a field" in message(fields) and hint in message(fields)


def test_warmup_and_cooldown_must_fit() -> None:
    text = message({"train": {"steps": 10}, "schedule": {"warmup_steps": 8, "cooldown_frac": 0.3}})
    assert "warmup_steps 8" in text and "cooldown of 3 steps" in text and "train.steps 10" in text
    fits = {"train": {"steps": 10}, "schedule": {"warmup_steps": 7, "cooldown_frac": 0.3}}
    assert parse(
        {"name": "x", "method": "gpt", "model": CONFIG.model.model_dump(), **fields_of(fits)}, origin="o"
    )
    # Only WSD has a cooldown.
    fits["schedule"] |= {"warmup_steps": 8, "shape": "cosine"}
    assert parse(
        {"name": "x", "method": "gpt", "model": CONFIG.model.model_dump(), **fields_of(fits)}, origin="o"
    )


def fields_of(sections: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: dict(section) for name, section in sections.items()}


def test_micro_batch_must_divide_the_batch() -> None:
    text = message({"train": {"batch_size": 6}, "device": {"micro_batch": 4}})
    assert "micro_batch 4" in text and "batch_size 6" in text


@pytest.mark.parametrize(("heads", "width"), [(3, 8), (8, 8), (2, 6)])
def test_head_width_must_be_whole_and_even(heads: int, width: int) -> None:
    model = {"vocab_size": 4, "num_layers": 1, "num_heads": heads, "d_model": width}
    assert f"d_model {width} over num_heads {heads}" in message({"model": model})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "nan", "inf", ".nan", -1.0, 0.0, "fast"])
def test_lr_is_finite_and_positive(value: Any) -> None:
    assert "optim.lr: given" in message({"optim": {"lr": value}})


@pytest.mark.parametrize("field", ["lr_grid", "betas"])
def test_nan_in_a_tuple_is_refused(field: str) -> None:
    assert f"optim.{field}" in message({"optim": {field: [0.9, float("nan")]}})


def test_all_findings_in_one_line() -> None:
    text = message({"train": {"steps": 0, "context": "long"}})
    assert "train.steps: given 0" in text and "train.context: given 'long'" in text


@pytest.mark.parametrize("name", ["", "A", "a/b", "../up", "a b", ".hidden", "x" * 65])
def test_name_is_safe_for_a_folder(name: str) -> None:
    assert "name: given" in message({"name": name})


# --- files ------------------------------------------------------------------------------------------------------------


def test_yaml_with_a_bare_exponent(tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-3 as text; the field's type makes it the number that was meant."""
    path = tmp_path / "run.yaml"
    path.write_text(
        "name: x\nmethod: gpt\n"
        "model: {vocab_size: 17, num_layers: 1, num_heads: 2, d_model: 8}\n"
        "optim: {lr: 1e-3, lr_grid: [1e-4, 1e-3, 1.0e-2], betas: [0.9, 0.99], weight_decay: null}\n"
    )
    optim = load(path).optim
    assert optim.lr == 0.001 and optim.lr_grid == (0.0001, 0.001, 0.01)
    assert optim.weight_decay is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: [", "not valid JSON or YAML"),
        ("- a\n- b\n", "a config is a mapping"),
        ("", "a config is a mapping"),
        ("name: x\n", "model"),
        (
            "name: x\nmethod: gpt\nmodel: {vocab_size: 1, num_layers: 1, num_heads: 1, d_model: 2}\noptim: {lr: .nan}\n",
            "optim.lr",
        ),
        ("!!python/object/apply:os.getcwd []\n", "not valid JSON or YAML"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert expected in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_an_unreadable_file_is_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "run.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="can't be read"):
        load(path)


def test_rules_need_a_base_width_and_sp_has_none() -> None:
    assert "base width" in message({"param": {"rules": "mup"}})
    assert "base width" in message({"param": {"base_width": 64}})


def test_a_section_that_changes_nothing_leaves_earlier_hashes_alone() -> None:
    assert "param" not in CONFIG.science()
    mup = {"rules": "mup", "base_width": 64}
    assert changed("param.base_width", 64).science()["param"].items() >= mup.items()
    assert changed("param.base_width", CONFIG.model.d_model).science()["param"] == mup | {"base_width": 8}
    deep = changed("param.base_layers", 2)
    assert deep.science()["param"] == {"rules": "nugpt", "base_width": 64, "base_layers": 2}
    assert changed("param.base_tokens", 9).science()["param"]["base_tokens"] == 9


def test_earlier_hashes_stand() -> None:
    """A section at its default must not make another run of an old one."""
    assert "seams" not in CONFIG.science()
    assert CONFIG.hash == FIRST
    assert changed("param.base_width", 64).hash != EARLIER["mup"], "under one hash, other numbers than before"
    assert changed("param.rules", "nugpt").hash == EARLIER["nugpt"]


def test_a_mixture_names_what_is_lent() -> None:
    """And lists no seam at its default: one that comes later must not change this hash."""
    mixed = changed("seams.norm", "b")
    assert mixed.science()["seams"] == {"norm": "b"}
    assert mixed.run_name == f"x-gpt+b.norm-s0-{mixed.hash}"
    several = changed("seams", {"norm": "b", "qk": "c", "gate": "b"})
    assert several.arm == "gpt+b.norm.gate+c.qk"
    assert load_text(dump(several)) == several


def load_text(text: str) -> RunConfig:
    return parse(json.loads(text), origin="test")
