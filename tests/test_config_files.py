"""Config files that are hostile, broken or ambiguous: one line each, soon, and JSON, YAML and options mean the same numbers."""

from __future__ import annotations

import json
import os
import string
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ngptlab import ConfigError, RunConfig
from ngptlab.config import dump, flatten, load, parse
from ngptlab.config.loading import FILE_BYTES, MAX_NODES, parse_yaml
from ngptlab.overrides import apply

MODEL = "model: {vocab_size: 17, num_layers: 1, num_heads: 2, d_model: 8}\n"
HEAD = f"name: x\nmethod: gpt\n{MODEL}"
BASE = parse(yaml.safe_load(HEAD), origin="a test")
SECONDS = 20.0
"""That any file may take: one at most on an idle machine, more beside other work. The alias bomb took more than 90."""


def refused(path: Path, text: str | bytes) -> str:
    """The message for a file of this content."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    start = time.perf_counter()
    with pytest.raises(ConfigError) as caught:
        load(path)
    message = str(caught.value)
    assert time.perf_counter() - start < SECONDS
    assert message.isprintable() and len(message) < len(str(path)) + 1_200, message
    assert str(path) in message
    return message


def alias_bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    return "\n".join(lines) + "\n"


YAMLS = {
    "alias bomb": (alias_bomb(), "line 2: an alias"),
    "a harmless alias": (f"a: &a 1\nb: *a\n{HEAD}", "line 2: an alias"),
    "merge key": (f"{HEAD}<<: {{seed: 1}}\n", "<< is not a field"),
    "lists in lists": ("[" * 3_000, "in each other"),
    "a megabyte of lists in lists": ("[" * (FILE_BYTES - 1), "in each other"),
    "lists in lists, closed": ("name: " + "[" * 3_000 + "]" * 3_000, "in each other"),
    "mappings in mappings": ("{a: " * 3_000, "in each other"),
    "lists of lines": ("- " * 3_000 + "a", "in each other"),
    "keys of keys": ("? " * 3_000 + "a", "in each other"),
    "indented": ("\n".join(" " * n + f"a{n}:" for n in range(1_000)), "in each other"),
    "long list": ("- 1\n" * 200_000, f"more than {MAX_NODES}"),
    "many keys": ("\n".join(f"k{n}: 1" for n in range(100_000)), f"more than {MAX_NODES}"),
    "many unknown keys": (HEAD + "\n".join(f"k{n}: 1" for n in range(1_000)), "and 995 more"),
    "long whole number": (f"{HEAD}seed: {'9' * 5_000}\n", "line 4: a number of 5000 digits"),
    "long whole number in the record": (f"{HEAD}seed: {'9' * 90}\n", "seed: given 9"),
    "long real number": (f"{HEAD}optim: {{lr: 0.{'3' * 5_000}e-9999}}\n", "optim.lr: given 0.0"),
    "huge exponent": (f"{HEAD}optim: {{lr: 1e99999}}\n", "optim.lr: given inf"),
    "long word": (f"{HEAD}method_: {'a' * 500_000}\n", "method_ is not a field"),
    "long key": (f"{HEAD}{'a' * 1_000}: 1\n", "is not a field"),
    "no date": (f"{HEAD}seed: 2001-99-99\n", "seed: given '2001-99-99'"),
    "a date": (f"{HEAD}seed: 2001-01-01\n", "seed: given '2001-01-01'"),
    "date by tag": (f"{HEAD}seed: !!timestamp 2001-99-99\n", "line 4: the tag"),
    "octal by tag": (f"{HEAD}seed: !!int 010\n", "line 4: the tag"),
    "binary by tag": (f"{HEAD}method: !!binary aGk=\n", "line 4"),
    "object by tag": ("!!python/object/apply:os.getcwd []\n", "line 1: the tag"),
    "long tag": (f"!!{'a' * 10_000} x\n", "line 1"),
    "long anchor": (f"a: *{'a' * 10_000}\n", "line 1: an alias"),
    "set": ("? a\n? b\n", "is not a field"),
    "NUL": (f"{HEAD}track: 'o\0f'\n", "U+0000"),
    "NUL, escaped": (HEAD + 'track: "o\\0f"\n', "U+0000"),
    "half a pair": (HEAD + 'track: "\\ud800"\n', "U+D800"),
    "half a pair in a key": (HEAD + '"\\ud800": 1\n', "U+D800"),
    "not UTF-8": (b"name: \xff\n", "can't be read"),
    "raw surrogate": (b"name: \xed\xa0\x80\n", "can't be read"),
    "U+FFFE": ("name: \ufffe\n", "U+FFFE"),
    "key twice": (f"{HEAD}train: {{steps: 1, steps: 2}}\n", "line 4: 'steps' stands twice"),
    "section twice": (f"{HEAD}train: {{steps: 1}}\ntrain: {{context: 1}}\n", "line 5: 'train' stands twice"),
    "key of a list": ("? [a]\n: 1\n", "line 1: a key is a word"),
    "two documents": (f"{HEAD}---\n{HEAD}", "line 4: but found another document"),
    "tab": ("name:\n\tx\n", "line 2"),
    "open quote": ("name: 'x\n", "line 2"),
    "recursive": ("&a [*a]\n", "line 1: an alias"),
    "directives": ("%TAG ! tag:x,2000:\n" * 20_000 + "a: 1\n", "line 2"),
}
JSONS = {
    "lists in lists": ("[" * 3_000, "not valid JSON"),
    "a megabyte of lists in lists": ("[" * (FILE_BYTES - 1), "nested too deeply"),
    "lists in lists, closed": ('{"name": ' + "[" * 100 + "]" * 100 + "}", "in each other"),
    "long whole number": ('{"seed": ' + "9" * 5_000 + "}", "a number of 5000 digits"),
    "key twice": ('{"seed": 1, "seed": 2}', "'seed' twice"),
    "NaN": ('{"seed": NaN}', "NaN"),
    "huge exponent": ('{"seed": 1e99999}', "too large"),
    "half a pair": ('{"name": "\\ud800"}', "U+D800"),
    "NUL": ('{"name": "\\u0000"}', "U+0000"),
    "octal": ('{"seed": 010}', "line 1"),
    "open": ('{"name": "x",\n', "line 2"),
    "yaml": (HEAD, "line 1"),
}


@pytest.mark.parametrize("name", YAMLS)
def test_a_wrong_yaml_is_one_short_line_at_once(tmp_path: Path, name: str) -> None:
    text, expected = YAMLS[name]
    assert expected in refused(tmp_path / "run.yaml", text)


@pytest.mark.parametrize("name", JSONS)
def test_a_wrong_json_is_one_short_line_at_once(tmp_path: Path, name: str) -> None:
    text, expected = JSONS[name]
    assert expected in refused(tmp_path / "run.json", text)


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_only_regular_files_of_a_config_s_size_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"run.{suffix}"
    assert "at most" in refused(path, b" " * (FILE_BYTES + 1))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="a FIFO"):
        load(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match="a device"):
        load(path)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    for name, text in (("run.yaml", HEAD), ("run.json", dump(BASE))):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert load(tmp_path / name) == BASE


# --- numbers ----------------------------------------------------------------------------------------------------------

AMBIGUOUS = (
    "yes no on off true True 1:30 010 00.5 0x10 0o10 0b1 .nan .inf -.inf nan 1_ _1 1__0 1e e3 1.5.2 --1 "
    "2001-01-01 1,000 १२ １２"
)
NO_NUMBERS = [*AMBIGUOUS.split(), "1 000"]
WHOLE = {"600": 600, "+5": 5, "1e3": 1000, "1_000": 1000, "7.0": 7, "1E+2": 100, "2.5e2": 250}
REAL = {text: float(value) for text, value in WHOLE.items()} | {
    text: float(text) for text in ("1e-3", "1E-3", ".5", "5.", "0.001", "1_000.5")
}


def by_file(tmp_path: Path, field: str, text: str) -> RunConfig:
    section, leaf = field.split(".")
    path = tmp_path / "run.yaml"
    path.write_text(f"{HEAD}{section}:\n  {leaf}: {text}\n")
    return load(path)


@pytest.mark.parametrize("field", ["train.steps", "optim.lr", "schedule.warmup_steps", "optim.weight_decay"])
@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_number_is_none_anywhere(tmp_path: Path, field: str, text: str) -> None:
    for attempt in (lambda: by_file(tmp_path, field, text), lambda: apply(BASE, {field: text})):
        with pytest.raises(ConfigError, match=rf"{field}: given") as caught:
            attempt()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "texts"), [("train.steps", WHOLE), ("optim.lr", REAL)], ids=["whole", "real"]
)
def test_a_number_is_the_same_in_a_file_and_an_option(
    tmp_path: Path, field: str, texts: dict[str, float]
) -> None:
    for text, value in texts.items():
        values = [
            dict(flatten(config))[field]
            for config in (by_file(tmp_path, field, text), apply(BASE, {field: text}))
        ]
        assert values == [value, value] and {type(v) for v in values} == {type(value)}, text


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize(
    "field", ["train.steps", "optim.lr", "optim.betas", "eval.at", "seed", "model.d_model"]
)
def test_a_truth_value_is_no_number(field: str, value: bool) -> None:
    fields = json.loads(dump(BASE))
    *sections, leaf = field.split(".")
    record = fields[sections[0]] if sections else fields
    record[leaf] = [value, value] if field in ("optim.betas", "eval.at") else value
    with pytest.raises(ConfigError, match=f"{field}.*: given .*not true or false"):
        parse(fields, origin="a test")


def test_words_of_yaml_1_1_are_words(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"{HEAD}device: {{graphs: off, compile: on}}\ntrack: off\ndata: {{source: yes}}\n")
    config = load(path)
    assert (config.device.graphs, config.device.compile, config.track) == ("off", "on", "off")
    assert config.data.source == "yes"
    assert parse_yaml("[~, null, NULL, '', true, FALSE, 1:30, 010, 2001-01-01, <<, =]") == [
        None,
        None,
        None,
        "",
        True,
        False,
        "1:30",
        "010",
        "2001-01-01",
        "<<",
        "=",
    ]


def test_no_negative_zero() -> None:
    fields = json.loads(dump(BASE))
    fields["optim"]["weight_decay"] = -0.0
    negative = parse(fields, origin="a test")
    fields["optim"]["weight_decay"] = 0
    assert negative.hash == parse(fields, origin="a test").hash


# --- there and back ---------------------------------------------------------------------------------------------------

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co")), max_size=12)
SMALL = st.integers(1, 10**6)
POSITIVE = st.floats(2.0**-126, 3e38) | st.sampled_from([1e-3, 1e-05, 1e16, 1.0, 2**-9])


@st.composite
def configs(draw: st.DrawFn) -> RunConfig:
    half, heads = draw(st.integers(1, 64)), draw(st.integers(1, 16))
    steps = draw(SMALL)
    fields: dict[str, Any] = {
        "name": draw(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)),
        "method": draw(st.sampled_from(["gpt", "yes", "1e3", "null", "~", "010"]) | WORDS),
        "seed": draw(st.integers(0, 2**32 - 1)),
        "model": {
            "vocab_size": draw(SMALL),
            "num_layers": 3,
            "num_heads": heads,
            "d_model": 2 * half * heads,
        },
        "data": {"source": draw(WORDS), "val_share": draw(st.floats(1e-6, 0.49))},
        "optim": {
            "lr": draw(POSITIVE),
            "lr_grid": draw(st.lists(POSITIVE, max_size=4)),
            "weight_decay": draw(st.none() | st.just(0.0) | POSITIVE),
            "betas": draw(st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9999))),
        },
        "schedule": {"shape": "cosine", "cooldown_frac": draw(st.sampled_from([0.0, 0.3, 1.0]))},
        "train": {"steps": steps},
        "eval": {"at": draw(st.lists(st.integers(1, steps), max_size=4))},
    }
    return parse(fields, origin="a test")


def quoted(value: Any) -> str:
    """YAML with every word in quotes, as PyYAML's own writer knows YAML 1.1 and not what 1.2 takes for a number."""

    class Quoting(yaml.SafeDumper):
        pass

    Quoting.add_representer(
        str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
    )
    return yaml.dump(value, Dumper=Quoting, allow_unicode=True)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(configs())
def test_json_and_yaml_of_a_config_read_back_as_it_is(tmp_path: Path, config: RunConfig) -> None:
    fields = config.model_dump(mode="json")
    texts = {
        "a.json": dump(config),
        "b.json": json.dumps(fields),
        "a.yaml": quoted(fields),
        "b.yaml": json.dumps(fields, ensure_ascii=False),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        read = load(tmp_path / name)
        assert read == config and read.hash == config.hash, name


SIGNS = "[]{}:,-?&*!|>%@`'\"#\n\t\r \\\x00\x85\u2028\ufeff"
PIECES = (
    '1e999 010 1:30 2001-99-99 yes ~ &a *a !!int !!set <<: ... |2 >- \\ud800 "\\x" name: model: {steps: %YAML'
)
TOKENS = st.sampled_from([*SIGNS, *PIECES.split(), "\n  ", "\n- ", ": ", "? ", "---\n", "9" * 200])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(TOKENS, max_size=40).map("".join)
    | st.text(string.printable, max_size=60)
    | st.binary(max_size=60),
    st.sampled_from(["yaml", "json"]),
)
@example("!!int ", "yaml")
@example("!!int [a]", "yaml")
@example("! x", "yaml")
@example("'\\ud800'", "json")
def test_no_text_is_a_traceback(tmp_path: Path, text: str | bytes, suffix: str) -> None:
    path = tmp_path / f"run.{suffix}"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    try:
        load(path)
    except ConfigError as error:
        assert len(str(error)) < len(str(path)) + 1_200 and str(error).isprintable()


def test_a_path_may_have_any_character_that_the_system_lets_it_have(tmp_path: Path) -> None:
    """A folder's name may hold ESC or C1; a run that was trained on it must be readable again, and messages escape it."""
    odd = f"text:{tmp_path}/\x1b[31m\x9b\u202e"
    config = load(_written(tmp_path / "run.yaml", HEAD + 'data: {source: "text:x"}\n'))
    config = config.model_copy(update={"data": config.data.model_copy(update={"source": odd})})
    assert load(_written(tmp_path / "config.json", dump(config))).data.source == odd


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
