"""Configs and command lines that somebody typed with their elbows: a line and exit code 2, or what was asked for.

Nothing is trained: what would train ends where it would begin. The generators are seeded, so a failure's number makes it again.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from own_payloads import NAMES

from ngptlab.cli import main, parser
from ngptlab.config import blank, dump, flatten, load
from ngptlab.errors import ConfigError
from ngptlab.methods import names, resolve
from ngptlab.overrides import complete_vocabulary
from test_config_files import quoted
from tiny import write_texts

MOST = 2_000
"""Of configs, and of command lines, in `make faults`; `make test` has the first few."""
FEW = 16
NUMBERS = (
    *(
        "0",
        "-1",
        "1",
        "2",
        "3",
        "7",
        "64",
        "1e3",
        "1e400",
        "-1e400",
        "1e-400",
        "nan",
        "inf",
        "2^-9",
        "2**53",
        "0x10",
    ),
    *(
        "٣",
        "²",
        "1_000",
        "1,5",
        "9" * 5_000,
        str(2**63),
        str(2**64),
        "0.5",
        "1.0",
        "true",
        "None",
        "none",
        "~",
    ),
)
# Nothing that asks the network: `hf:`, and the vocabulary `gpt2`.
WORDS = (
    *(
        "",
        " ",
        "-",
        "--",
        "=",
        "--=",
        "-h",
        "[",
        "{}",
        "'",
        '"',
        "\\",
        "\ud800",
        "a b",
        "\t",
        "\n",
        "%s",
        "$HOME",
        "*",
    ),
    *(
        "text:",
        "shards:",
        "text:texts",
        "text:/dev/zero",
        "text:absent",
        "stdlib",
        "stdlb",
        "bytes",
    ),
    *(
        "wsd",
        "cosine",
        "sp",
        "mup",
        "fan_in",
        "std:0.02",
        "std:",
        "std:nan",
        "./my_idea.py",
        "a/b.py",
        "demo",
        "run",
    ),
    *(name.replace("\0", "?") for name in NAMES),
)
VERBS: tuple[tuple[str, ...], ...] = (
    *(("config", "demo"), ("plan", "demo"), ("train", "demo"), ("compare", "demo"), ("board", "demo")),
    *(("sweep", "demo"), ("ladder", "demo", "--from", "gpt", "--to", "ngpt"), ("cooldown", "demo")),
    *(("config", "run.json"), ("plan", "run.json"), ("train", "run.json"), ("config", "mup-bytes")),
    *(("ledger", "l.jsonl"), ("claims", "absent"), ("report", "absent"), ("watch", "absent", "--once")),
    *(("eval", "absent", "--evals", "val"), ("sample", "absent", "a"), ("export", "absent", "e")),
    *(("import", "absent", "back"), ("track", "absent", "--to", "tensorboard"), ("methods",), ("recipes",)),
    *(
        ("data", "prepare", "texts", "--out", "new"),
        ("data", "verify", "absent"),
        ("data", "stats", "absent"),
    ),
    *(("new", "idea"), ("try", "gpt"), ("bench",), ("check",), ("data",), ()),
)

pytestmark = pytest.mark.timeout(7_200)


@pytest.fixture(autouse=True)
def nothing_trains(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be done until it is stopped is not begun."""
    write_texts(work / "texts")
    # A slip may make `gpt2` of a word, and its vocabulary is fetched where a machine lacks it.
    monkeypatch.setattr("tiktoken.get_encoding", absent)
    (work / "run.json").write_text(dump(blank().model_copy(update={"method": "gpt"})))
    for name, module in list(sys.modules.items()):
        if name.startswith("ngptlab") and hasattr(module, "until_stopped"):
            monkeypatch.setattr(module, "until_stopped", begins)


def absent(name: str) -> NoReturn:
    raise OSError(f"{name}: no network")


def begins(act: Callable[[], object]) -> NoReturn:
    raise SystemExit(0)


Said = Callable[[], tuple[str, str]]


@pytest.fixture
def told(capfd: pytest.CaptureFixture[str]) -> Said:
    return capfd.readouterr


def run(arguments: list[str], told: Said) -> tuple[int, str]:
    """Exit code and stdout of a command line, whose errors are looked at."""
    try:
        code = main(arguments)
    except SystemExit as ended:  # of --help and --version
        code = int(ended.code or 0)
    out, err = told()
    last = err.splitlines()[-1] if err else ""
    assert code == 0 or (code == 2 and last.startswith("ngptlab: ") and len(last) < 6_000), (
        code,
        err[-2_000:],
    )
    assert "Traceback" not in err and all(
        char.isprintable() or char in "\t\n" for char in (out + err).replace("\u200d", "")
    )
    return code, out


# --- configs --------------------------------------------------------------------------------------------------------------


def odd(draw: random.Random) -> Any:
    """A value that a field of a config may be given."""
    return draw.choice(
        [
            *(
                None,
                True,
                False,
                0,
                -1,
                1,
                2,
                3,
                8,
                2**31,
                2**53,
                2**64,
                10**90,
                0.5,
                1e-3,
                -0.0,
                1e300,
                5e-324,
            ),
            *([], {}, [1, 2], [0.9, 0.99], ["x"], {"a": 1}, draw.choice(NAMES), draw.choice(WORDS)),
            draw.choice(NUMBERS),
        ]
    )


def config(draw: random.Random) -> dict[str, Any]:
    """The fields of a config, of which some are odd, missing, or elsewhere."""
    fields = json.loads(dump(blank().model_copy(update={"method": draw.choice(names())})))
    fields["model"] = {"vocab_size": 257, "num_layers": draw.randint(1, 4), "num_heads": 2, "d_model": 16}
    paths = [path for path, _ in flatten(blank())]
    for _ in range(draw.choice([0, 1, 1, 2, 3, 6])):
        *sections, leaf = draw.choice(paths).split(".")
        record = fields
        for section in sections:
            record = record[section] if isinstance(record.get(section), dict) else record
        kind = draw.random()
        if kind < 0.1:
            record.pop(leaf, None)
        elif kind < 0.15:
            record[draw.choice(["stepz", "", "a" * 90, *NAMES])] = odd(draw)
        elif kind < 0.2:
            fields[draw.choice(list(fields))] = odd(draw)
        elif kind < 0.55 and isinstance(record.get(leaf), int | float):
            record[leaf] = draw.choice([1, 2, 4, 8, 16, 0.25, 0.5, 1.0, record[leaf]])
        else:
            record[leaf] = odd(draw)
    return fields


def bent(text: str, draw: random.Random) -> str:
    """A text with some signs taken out, put in, or doubled."""
    for _ in range(draw.choice([0, 0, 1, 2, 5])):
        at = draw.randrange(len(text) + 1)
        much = draw.choice([1, 1, 2, 10, 100])
        text = draw.choice(
            [
                text[:at] + text[at + much :],
                text[:at] + draw.choice(SIGNS) + text[at:],
                text[:at] + text[at : at + much] * 3 + text[at + much :],
                text[:at],
            ]
        )
    return text


SIGNS = (
    *"[]{}:,-?&*!|>%@`'\"#\n\t\r \\\x00\x85\u2028\ufeff\ud800",
    *(
        "!!python/object/apply:os.system [x]",
        "&a",
        "*a",
        "<<: ",
        "- ",
        "---\n",
        "9" * 200,
        "[" * 50,
        ": {",
        "\\ud800",
    ),
)


def check_config(number: int, work: Path, told: Said) -> bool:
    """Whether the config of this number is one; then it is the same in JSON and in YAML, and as it is printed."""
    draw = random.Random(number)
    fields = config(draw)
    whole = draw.random() < 0.7
    try:
        texts = {"a.json": json.dumps(fields), "a.yaml": quoted(fields)}
    except UnicodeEncodeError:  # half of a pair, which no file in UTF-8 has
        texts = {"a.json": json.dumps(fields), "a.yaml": json.dumps(fields)}
    codes = {}
    for name, text in texts.items():
        text = text if whole else bent(text, draw)
        (work / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        codes[name] = run(["config", name], told)
    if not whole:
        return False
    assert codes["a.json"] == codes["a.yaml"], number
    code, printed = codes["a.json"]
    if code:
        return False
    (work / "b.yaml").write_text(printed)
    read = load(work / "b.yaml")
    (work / "b.json").write_text(dump(read))
    again = load(work / "b.json")
    ours = resolve(load(work / "a.json", complete_vocabulary))
    assert again == read == ours and again.hash == read.hash == ours.hash
    assert run(["config", "b.yaml"], told) == run(["config", "b.json"], told) == codes["a.json"], number
    return True


def test_a_few_configs(work: Path, told: Said) -> None:
    good = [check_config(number, work, told) for number in range(FEW)]
    assert FEW / 10 < sum(good) < FEW * 0.9, "all alike: nothing is tried"


@pytest.mark.faults
def test_many_configs(work: Path, told: Said) -> None:
    good = [check_config(number, work, told) for number in range(FEW, MOST)]
    assert MOST / 10 < sum(good) < MOST * 0.9


# --- command lines --------------------------------------------------------------------------------------------------------


def options() -> dict[str, list[str]]:
    """Every verb's own options."""
    top = parser()
    return {verb: sorted(top.options_of(verb)) for verb in {words[0] for words in VERBS if words}}


def words_of(draw: random.Random, own: dict[str, list[str]]) -> list[str]:
    verb = list(draw.choice(VERBS))
    fields = [f"--{path.replace('_', '-')}" for path, _ in flatten(blank())]
    # What stops of itself only: it watches for ever, uploads, or trains by processes of its own.
    mine = [o for o in own.get(verb[0] if verb else "", []) if o not in ("--push", "--public", "--to")]
    for _ in range(draw.choice([0, 1, 1, 2, 3, 5])):
        option = draw.choice(
            [*fields, *mine * 4, *(["--" + draw.choice(WORDS)] if draw.random() < 0.1 else [])]
        )
        if draw.random() < 0.1:
            option = bent(option, draw).replace("\0", "") or "-"
        value = draw.choice([*NUMBERS, *WORDS])
        kind = draw.random()
        verb += [f"{option}={value}"] if kind < 0.2 else [option] if kind < 0.3 else [option, value]
        if kind > 0.95:
            verb += [draw.choice(WORDS), draw.choice(NUMBERS)]
    if verb and draw.random() < 0.1:
        verb[draw.randrange(len(verb))] = draw.choice([*WORDS, *NUMBERS])
    if draw.random() < 0.05:
        draw.shuffle(verb)
    return ["recipes"] if verb[:1] in (["watch"], ["bench"], ["check"]) and not harmless(verb) else verb


def harmless(verb: list[str]) -> bool:
    """Whether a line ends of itself, and soon: these verbs watch for ever, or measure for minutes."""
    return (verb[0] == "watch" and "--once" in verb) or len(verb) == 1


def check_command(number: int, own: dict[str, list[str]], told: Said) -> int:
    arguments = words_of(random.Random(number), own)
    try:
        return run(arguments, told)[0]
    except Exception as error:
        raise AssertionError(f"number {number}: {arguments}") from error


def test_a_few_command_lines(told: Said) -> None:
    own = options()
    codes = [check_command(number, own, told) for number in range(FEW)]
    assert 0 in codes and 2 in codes


@pytest.mark.faults
def test_many_command_lines(told: Said) -> None:
    own = options()
    codes = [check_command(number, own, told) for number in range(FEW, MOST)]
    assert MOST / 20 < codes.count(0) < MOST * 0.9


def test_a_traceback_is_seen(told: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Iterator[str]:
        raise KeyError("x")

    monkeypatch.setattr("ngptlab.verbs.config.lines", broken)
    with pytest.raises(AssertionError, match="number 3: "):
        monkeypatch.setattr(sys.modules[__name__], "words_of", lambda *_: ["config", "demo"])
        check_command(3, {}, told)
    with pytest.raises(ConfigError):
        load(Path("absent.json"))
