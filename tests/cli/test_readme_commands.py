"""Every command of the README and of the pages for users, as it stands there: each is understood, and those of this machine are
run, scaled down.

What is scaled down is a run's size alone: fields that the command does not name are put behind it.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

import ngptlab
from ngptlab.cli import FIELDS_ALONE, WITH_FIELDS, main, parse, parser, studies
from ngptlab.config import blank
from ngptlab.overrides import split

ROOT = Path(ngptlab.__file__).parent.parent
PAGES = (
    "README.md",
    *(f"docs/{name}.md" for name in ("commands", "quickstart", "own_text", "verdict", "recipes")),
)
PLACES = {
    "RUN": "run",
    "DIR": "shards",
    "PATH": "texts",
    "RECIPE": "demo",
    "FILE": "model.bin",
    "OUT": "imported",
}
"""Words of the table that stand for a reader's own."""
TINY = (
    "--model.num-layers 1 --model.num-heads 2 --model.d-model 16 --batch-size 4 --context 16 --eval.every 3 --eval.val-tokens 64 "
    "--length-factor 2 --length-documents 3 --val-share 0.2 --long-share 0.3 --device cpu --threads 1"
)
TEXTS = "--data.source text:texts"
ELSEWHERE = {
    "data get": "fetches from the Hub",
    "data prepare hf:": "fetches from the Hub",
    "data prepare PATH --tokenizer gpt2": "fetches GPT-2's table",
    "train demo --data.tokenizer gpt2": "fetches GPT-2's table",
    "train demo --data.source text:PATH --data.tokenizer gpt2": "fetches GPT-2's table",
    "train demo --data.source text:PATH --data.tokenizer tokenizer.json": "needs a tokenizer (tests/data)",
    "train demo --data.source shards:DIR": "tests/data has shards of GPT-2's tokens",
    "compare fineweb-162m": "trains for days; with --smoke for minutes",
    "train demo --track": "needs an extra",
    "track": "needs an extra",
    "eval RUN RUN --evals tasks": "needs an extra",
    "import": "needs a checkpoint of others",
    "submit": "needs Slurm (tests/cli/test_submit.py, tests/slurm)",
    "claims": "of recorded results (tests/claims)",
    "report out/demo": "of studies (tests/report)",
    "report RUN RUN ...": "of studies (tests/report)",
    "bench scaling": "measures for minutes (tests/bench)",
    "sweep mup-bytes-small": "trains for an hour",
    "sweep demo --lrs 2^-9 2^-8 --executor": "needs an extra",
    "sweep RECIPE": "has no grid",
    "board": "trains for hours (tests/studies/board)",
    "plan paper": "is a plan of the next row's kind",
    "try": "trains for ten minutes (tests/trial)",
}
"""What is not run here, by how the command begins, and why."""
SLOW = ("sweep", "ladder", "cooldown", "compare", "check", "watch", "eval", "ledger", "methods --table")


def commands() -> list[str]:
    """Those in code spans and in blocks of code, a verb's name alone left out; what a shell does with the output is cut off."""
    text = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    found = re.findall(r"`ngptlab ([^`]+)`|^ngptlab (.+)$", text, re.MULTILINE)
    lines = dict.fromkeys(re.split(r"\s+>\s", span or line)[0] for span, line in found)
    return [command for command in lines if " " in command or command in ("methods", "recipes")]


def elsewhere(command: str) -> str:
    """Why a command isn't run here; empty where it is."""
    return next((why for begin, why in ELSEWHERE.items() if command.startswith(begin)), "")


def typed(command: str) -> list[str]:
    """The words of a command, with places of this machine for the reader's own."""
    words = [word for word in shlex.split(command) if word != "..."]
    return [
        re.sub(r"(^|:)([A-Z]+)$", lambda found: found[1] + PLACES.get(found[2], found[2]), word)
        for word in words
    ]


def scaled(command: str) -> list[str]:
    """The command, and behind it the fields that make its runs small."""
    words = typed(command)
    if words[0] == "eval" and "length" in words:
        return [*words, "--factor", "2"]  # the texts are of some 200 tokens
    trains = words[0] in ("train", "compare", "sweep", "ladder", "cooldown") and "--help" not in words
    if not trains or words[1].endswith((".yaml", ".json")) or "--smoke" in words:
        return words
    # A cooldown of a twentieth needs some steps.
    steps = (
        [] if "--lengths" in words else ["--train.steps=60" if words[0] == "cooldown" else "--train.steps=6"]
    )
    # A base width is one of the recipe's heads.
    width = "--model.num-heads 2 --model.d-model 16"
    sizes = TINY.replace(width, "" if "--param.base-width" in words else width).split()
    if "--lengths" in words:
        first = words.index("--lengths") + 1
        words[first : first + 3] = [str(int(word) // 4) for word in words[first : first + 3]]
    text = [] if "--data.source" in words else TEXTS.split()
    return [*words, *steps, *sizes, *text]


@pytest.fixture
def reader(work: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the table takes for granted: texts, two runs, shards, a method, config files."""
    (work / "texts").symlink_to(corpus)
    (work / "my_idea.py").write_text((Path(ngptlab.__file__).parent / "methods" / "gpt.py").read_text())
    fields = {
        "name": "my",
        "method": "gpt",
        "model": {"num_layers": 1, "num_heads": 2, "d_model": 16},
        "train": {"steps": 4, "batch_size": 4, "context": 16},
        "data": {"source": "text:texts", "val_share": 0.2},
        "eval": {"val_tokens": 64, "length_factor": 2},
        "device": {"kind": "cpu", "threads": 1},
    }
    (work / "input.txt").write_text("".join(path.read_text() for path in sorted(corpus.iterdir())))
    for name in ("my.yaml", "my.json", "mine.yaml"):
        (work / name).write_text(json.dumps(fields))
    return work


@pytest.mark.parametrize("command", commands())
def test_a_command_is_understood(command: str, reader: Path) -> None:
    """Every word of it is one of the verb's, and every field is there with a value that it can have."""
    words = typed(command)
    if "--help" in words:
        return
    if words[0] == "submit":
        words = parse(words).command
    fields = words[0] in (*WITH_FIELDS, *FIELDS_ALONE, *(study.NAME for study in studies().values()))
    own = parser().options_of(words[0])
    _, rest = split(words, blank(), own) if fields else ({}, words)
    _, unknown = parser().parse_known_args(rest)
    assert unknown == []


def test_what_is_said_of_commands_that_are_not_run_is_of_some() -> None:
    for begin in ELSEWHERE:
        assert any(command.startswith(begin) for command in commands()), begin


HERE = [command for command in commands() if not elsewhere(command)]
QUICK = [command for command in HERE if not command.startswith(SLOW)]


@pytest.mark.parametrize("command", QUICK)
def test_a_quick_command_works_as_typed(command: str, reader: Path, in_process: None) -> None:
    prepare(command)
    run_it(command)


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in HERE if command not in QUICK])
def test_a_command_works_as_typed(command: str, reader: Path, in_process: None) -> None:
    prepare(command)
    run_it(command)


def prepare(command: str) -> None:
    """What the reader has from an earlier row."""
    if "RUN" in command or "out/demo" in command:
        run_it("train demo --method ngpt --out run")
    if "out/demo-search" in command:
        run_it("sweep demo --search --lrs 2^-9 2^-8 2^-7 --grid optim.weight_decay=0,0.1,1")
    if "DIR" in command and "data prepare" not in command and "export" not in command:
        assert main(["data", "prepare", "texts", "--tokenizer", "bytes", "--out", "shards"]) == 0
    if "ledger" in command:
        run_it("compare demo --ledger runs.jsonl")


def run_it(command: str) -> None:
    words = scaled(command)
    if words[0] == "new":
        Path("my_idea.py").unlink()
    if words[0] == "watch":
        words = ["watch", "run", "--once"]
    try:
        code = main(words)
    except SystemExit as end:  # of a help page
        code = int(end.code or 0)
    assert code == 0, words


def test_the_pages_are_read_whole() -> None:
    """A command that this file didn't see would be tested by nobody."""
    assert len(commands()) > 60 and len(HERE) > 40
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .+ \| .*$", text, re.MULTILINE)
    assert sum("`ngptlab " in row for row in rows) > 50, "the six groups"
    assert scaled("train demo --lr 1")[:4] == ["train", "demo", "--lr", "1"]
