"""Whatever is written: no verb fails on a stream whose encoding lacks a sign, and none hands a stranger's text on raw."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.table import Table
from rich.text import Text

import ngptlab
from made_runs import run_maker
from ngptlab import RunConfig, cli
from ngptlab.cli import main
from ngptlab.console import Console
from ngptlab.experiment import train
from ngptlab.terminal import any_text, one_line, printable, say_path
from ngptlab.train.progress import ConsoleReporter
from ngptlab.train.speed import Speed

STEERS = "\x1b[31m\x07\x08\x9b2J\u202e\u2066\x1b]8;;http:e\x1b\\"
"""Color, bell, backspace, an erased screen by C1, reversed text, a link."""
FOLDER = f"é{STEERS}[red]:smile: ± 你\r"
HOSTILE = f"{FOLDER}[/bold]"
METHOD = re.sub("[\x00-\x08\x0e-\x1f\x7f\x9b]", "", HOSTILE)
"""A config with control characters is not read; what reverses text gets through."""
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u200b\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")
GRID = "--methods gpt --params sp --widths 16 --base-width 16 --lrs 2^-9 --workers 1 --out"
PREPARED = "--tokenizer bytes --val-share 0.2 --long-min-tokens 20 --out"

Lines = list[list[str]]
SLOW = {"compare", "eval"}


class Streams:
    """stdout and stderr of one encoding, strict, as Python opens them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, encoding: str, terminal: bool = False) -> None:
        self.raw = io.BytesIO(), io.BytesIO()
        self.encoding = encoding
        for name, raw in zip(("stdout", "stderr"), self.raw, strict=True):
            stream = io.TextIOWrapper(raw, encoding=encoding, errors="strict", write_through=True)
            if terminal:
                stream.isatty = lambda: True  # type: ignore[method-assign]
            monkeypatch.setattr(sys, name, stream)

    def texts(self) -> tuple[str, str]:
        """stdout and stderr. Paths for scripts are in the file system's encoding."""
        out, err = (raw.getvalue() for raw in self.raw)
        return os.fsdecode(out), err.decode(self.encoding)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a hostile name: what the verbs read and write is below it."""
    home = tmp_path_factory.mktemp("home") / FOLDER
    home.mkdir()
    return home


@pytest.fixture
def given(home: Path, make_config: Callable[..., RunConfig], corpus: Path) -> Path:
    """A run, shards, two made runs of a hostile method and hostile records, configs; made once."""
    if (home / "run").exists():
        return home
    texts = home.parent / "texts"
    corpus.rename(texts)
    train(make_config("ngpt", data={"source": f"text:{texts}"}), home / "run")
    assert main(["data", "prepare", str(texts), *words(PREPARED), str(home / "shards")]) == 0
    make = run_maker(home)
    env = {"torch": HOSTILE, "device": HOSTILE, "data_digest": "d", "commit": HOSTILE}
    for method in ("gpt", METHOD):
        make(method, {0: 5.0, 10: 4.0, 100: 3.0}, name=f"{method[:3]}{STEERS}", env=env, seconds=[0.1] * 100)
    failed = make("gpt", {0: 5.0, 10: 4.0}, name="failed", status="failed")
    (failed / "summary.json").write_text(json.dumps({"status": "failed", "reason": HOSTILE, "step": 4}))
    (home / "evil.json").write_text(json.dumps({"name": "x", "method": METHOD}))
    made = json.loads((home / "run" / "config.json").read_text()) | {"method": METHOD}
    (home / "method.json").write_text(json.dumps(made))
    return home


def words(text: str) -> list[str]:
    return text.split()


def lines(home: Path, tiny: list[str]) -> dict[str, Lines]:
    """Command lines of every verb, those that fail among them."""
    at = {name: str(home / name) for name in ("run", "runs", "shards", "evil.json", "method.json", "out")}
    run, out = at["run"], at["out"]
    texts = str(home.parent / "texts")
    names = [str(path) for path in sorted((home / "runs").iterdir()) if path.name != "failed"]
    wrong = str(home / f"none{STEERS}")
    return {
        "train": [
            ["train", "demo", *tiny, "--out", f"{out}/train"],
            ["train", at["evil.json"]],
            ["train", at["method.json"]],
            ["train", at["method.json"], "--help"],
            ["train", "demo", f"--{HOSTILE}", "1"],
            ["train", "demo", "--name", HOSTILE],
        ],
        "config": [["config", "demo", *tiny], ["config", wrong]],
        "compare": [["compare", "demo", *tiny, "--methods", "gpt", "--out", f"{out}/compare"]],
        "sweep": [["sweep", "mup-bytes-small", *tiny, *words(GRID), f"{out}/sweep"]],
        "board": [
            ["board", "demo", *tiny, *words("--methods gpt --lrs 2^-9 --decays 0 --seeds 1 --out"), f"{out}/board"],
            ["board", "demo", "--methods", HOSTILE],
        ],
        "ladder": [["ladder", "demo", "--from", "gpt", "--to", "qk_norm", *tiny, "--out", f"{out}/ladder"]],
        "cooldown": [
            ["cooldown", "demo", *tiny, *words("--methods gpt --fracs 0.5 --shapes linear --out"), f"{out}/cooldown"]
        ],
        "ledger": [
            ["ledger", f"{out}/runs.jsonl", "--add", run],
            ["ledger", f"{out}/runs.jsonl"],
            ["ledger", f"{out}/runs.jsonl", "--where", f"name={HOSTILE}"],
            ["ledger", wrong],
        ],
        "track": [["track", run, "--to", "tensorboard"], ["track", wrong, "--to", HOSTILE]],
        "watch": [["watch", str(home), "--once"], ["watch", wrong]],
        "report": [
            ["report", *names, "--out", f"{out}/report", "--title", HOSTILE, "--claims", at["runs"]],
            ["report", at["runs"], "--out", f"{out}/report"],
            ["report", wrong],
        ],
        "eval": [
            ["eval", run, *words("--evals val length spectra activations scales --factor 2 --out"), f"{out}/eval"],
            ["eval", *names, "--evals", "val"],
        ],
        "sample": [["sample", run, f"{HOSTILE}", "--max-tokens", "5"], ["sample", wrong, "x"]],
        "export": [["export", run, f"{out}/export"], ["export", names[0], f"{out}/no"]],
        "import": [["import", f"{out}/export", f"{out}/imported"], ["import", wrong, f"{out}/no"]],
        "bench": [["bench", "scaling", "--methods", HOSTILE]],
        "claims": [["claims", at["runs"], "--out", f"{out}/claims"], ["claims", wrong]],
        "methods": [["methods"], ["methods", "--diff", "gpt", "ngpt"], ["methods", "--diff", HOSTILE, "gpt"]],
        "completion": [["completion", "bash"], ["completion", "zsh"]],
        "new": [["new", "my_idea", "--from", "gpt"], ["new", HOSTILE, "--from", "gpt"], ["new", "x", "--from", HOSTILE]],
        "try": [
            ["try", "qk_norm", *tiny, "--budget", "1s", "--out", f"{out}/try"],
            ["try", f"./{HOSTILE}.py", *tiny],
            ["try", "qk_norm", "--against", HOSTILE, *tiny],
        ],
        "recipes": [["recipes"]],
        "plan": [["plan", "demo"], ["plan", at["method.json"]], ["plan", at["evil.json"]]],
        "submit": [
            ["submit", "train", "demo", *tiny, "--dry-run", "--out", f"{out}/submit"],
            ["submit", "train", at["evil.json"], "--dry-run"],
            ["submit", HOSTILE, "demo"],
        ],
        "check table": [["check", "table", "gpt", "--param", "mup", "--width", "32", "--base", "16"]],
        "check coord": [
            [*words("check coord gpt --widths 16 32 --steps 2 --seeds 1 --out"), f"{out}/coord"],
        ],
        "data verify": [["data", "verify", at["shards"]], ["data", "verify", wrong]],
        "data stats": [["data", "stats", at["shards"], "--out", f"{out}/stats.svg"], ["data", "stats", texts]],
        "data prepare": [
            ["data", "prepare", texts, *words(PREPARED), f"{out}/shards"],
            ["data", "prepare", wrong, "--out", f"{out}/no"],
        ],
        "data get": [["data", "get", "books", wrong, "--out", at["shards"]]],
    }  # fmt: skip


def verbs() -> Iterator[str]:
    """Every verb, with a verb's own verbs; what `data get` gets is one."""

    def inside(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
        found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        return dict(found[0].choices) if found else {}

    for name, parser in inside(cli.parser()).items():
        yield from (f"{name} {own}" for own in inside(parser)) if inside(parser) else (name,)


def run_all(commands: Lines) -> None:
    for command in commands:
        try:
            assert main(command) in (0, 1, 2, 3)
        except SystemExit as end:
            assert not end.code


@pytest.mark.usefixtures("in_process", "work")
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize(
    "verb",
    [pytest.param(verb, marks=pytest.mark.slow if verb in SLOW else ()) for verb in verbs()],
)
def test_any_verb_on_any_stream(
    verb: str, encoding: str, given: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = lines(
        given, [part if part[:5] != "text:" else f"text:{given.parent / 'texts'}" for part in tiny]
    )
    streams = Streams(monkeypatch, encoding)
    run_all(commands[verb])
    out, err = streams.texts()
    assert out + err and "Traceback" not in out + err and not RAW.search(err)
    # A pipe gets what a model wrote as it is, and paths for scripts.
    assert verb == "sample" or not RAW.search(re.sub(f"(?m)^{re.escape(str(given))}/[ -~]*$", "", out))
    assert sys.stdout.errors == sys.stderr.errors == "strict", "they are as they were"


# --- the rules themselves -----------------------------------------------------------------------------------------------


def test_what_steers_a_terminal_becomes_escapes() -> None:
    assert printable("a\x1b[31m\x07\r\x9b\u202e\u2066\u2028\ufeff\xad\udcff\tb\n") == (
        "a\\x1b[31m\\x07\\r\\x9b\\u202e\\u2066\\u2028\\ufeff\\xad\\udcff\tb\n"
    )
    assert one_line("a\n\tb") == "a\\n\\tb"
    for text in ("Grüße, 你好\u3000世界 ± 3", "می‌خواهم", "क्‍ष", "👩‍👩‍👧", "שלום\u200f!", "\xa0\ue000"):
        assert printable(text) == text


def test_a_table_shows_text_as_text() -> None:
    page = io.StringIO()
    console = Console(file=page, width=200)
    table = Table(title=HOSTILE, box=None)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    console.print(table)
    console.print(HOSTILE)
    shown = page.getvalue()
    assert not RAW.search(shown)
    assert shown.count("\\x1b[31m") == shown.count("[red]:smile: ± 你") == shown.count("[/bold]") == 4
    console.print(Text(HOSTILE))
    assert not RAW.search(page.getvalue())


def test_a_bar_shows_a_name_as_text_on_any_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    streams = Streams(monkeypatch, "ascii", terminal=True)
    speed = Speed(step_seconds=1.0, tokens_per_second=1.0, flops_per_second=1.0, mfu=None, data_share=0.0)
    with any_text(), ConsoleReporter(HOSTILE, 2) as tell:
        tell.note(HOSTILE)
        tell.step(1, loss_nats=1.0, lr=0.1, speed=speed, eta_seconds=1.0)
    _, err = streams.texts()
    assert err.count("\\x1b[31m") == err.count("[red]:smile: +- \\u4f60") > 2 and "1/2" in err
    assert "\x07" not in err and "]8;;http" not in err.replace("\\x1b]8;;http", "")


def test_a_path_for_scripts_is_that_path(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(os.fsdecode(b"caf\xe9\x1b"))
    for encoding in ("ascii", "utf-8"):
        streams = Streams(monkeypatch, encoding)
        say_path(path)
        assert streams.raw[0].getvalue() == b"caf\xe9\x1b\n"
    streams = Streams(monkeypatch, "utf-8", terminal=True)
    say_path(path)
    assert streams.texts()[0] == "caf\\udce9\\x1b\n"


def test_a_warning_of_a_library_quotes_no_one_raw(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams(monkeypatch, "utf-8")
    with any_text():
        print(warnings.formatwarning(f"Glyph ({HOSTILE})", UserWarning, "a.py", 1, ""), file=sys.stderr)
    assert "Glyph" in streams.texts()[1] and not RAW.search(streams.texts()[1])


@pytest.mark.slow  # many figures
@pytest.mark.usefixtures("work")
def test_files_beside_the_page_hold_no_control_characters(given: Path, work: Path) -> None:
    """`cat` shows them to the same terminal; and an SVG with one is no XML."""
    names = [str(path) for path in sorted((given / "runs").iterdir()) if path.name != "failed"]
    assert main(["report", *names, "--out", "page"]) == 0
    assert main(["claims", str(given / "runs"), "--out", "page"]) == 0
    files = [
        path
        for path in (work / "page").rglob("*")
        if path.suffix in (".csv", ".md", ".json", ".svg", ".html")
    ]
    assert {path.suffix for path in files} == {".csv", ".md", ".json", ".svg", ".html"}
    for path in files:
        assert not RAW.search(path.read_text(encoding="utf-8")), path.name
        if path.suffix == ".svg":
            ElementTree.parse(path)


ENCODINGS = {
    "PYTHONIOENCODING": {"PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_process_of_its_own(name: str, given: Path, tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON"))}
    env |= ENCODINGS[name] | {"PYTHONPATH": str(Path(ngptlab.__file__).parents[1])}
    for command, said in (
        (["data", "stats", str(given / "shards")], "#####"),
        (["watch", str(given), "--once"], "]8;;http"),
        (["data", "verify", str(given / "none")], "ngptlab: "),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "ngptlab", *command],
            capture_output=True,
            env=env,
            cwd=tmp_path,
            check=False,
        )
        text = (done.stdout + done.stderr).decode("ascii")
        assert done.returncode in (0, 2) and said in text and "Traceback" not in text, text
        assert not RAW.search(text)


def test_a_closed_stdout_is_no_error() -> None:
    code = "import sys; from ngptlab.cli import main; sys.exit(main(['recipes']))"
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "{sys.executable}" -c "{code}" >&-'], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
