"""What the Tab key offers, asked of a real bash and, where there is one, a real zsh."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ngptlab.cli import main, parser

EACH = """
while IFS= read -r line; do
    IFS=,; set -f; COMP_WORDS=($line); IFS=$' \\t\\n'
    case "$line" in *,) COMP_WORDS+=("") ;; esac
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
    _ngptlab
    printf '%s\\n' "${COMPREPLY[*]}"
done
"""
"""A line of words with commas between gives a line of what is offered for the last."""
IN_BASH = f'source "$1"; {EACH}'
IN_ZSH = f"""
autoload -Uz compinit && compinit -u -D
source "$1" || exit 1
[[ ${{_comps[ngptlab]}} == *_bash_complete* ]] || exit 2
emulate sh  # as bashcompinit calls functions
{EACH}"""


@pytest.fixture
def written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Path]:
    """The script of each shell."""
    found = {}
    for shell in ("bash", "zsh"):
        assert main(["completion", shell]) == 0
        found[shell] = tmp_path / f"completion.{shell}"
        found[shell].write_text(capsys.readouterr().out)
    return found


def asked(shell: str, script: Path, *lines: Sequence[str]) -> list[list[str]]:
    """What is offered for the last word of each line."""
    text, quiet = (IN_BASH, "--norc") if shell == "bash" else (IN_ZSH, "-f")
    done = subprocess.run(
        [shell, quiet, "-c", text, shell, str(script)],
        input="".join(f"{','.join(words)}\n" for words in lines),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and done.stderr == "", (done.returncode, done.stderr)
    return [line.split() for line in done.stdout.split("\n")[:-1]]


EXPECTED = {
    ("ngptlab", "tra"): ["train", "track"],
    ("ngptlab", "--v"): ["--version"],
    ("ngptlab", "train", "de"): ["demo"],
    ("ngptlab", "train", "demo", "--prof"): ["--profile"],
    ("ngptlab", "train", "demo", "--train.ste"): ["--train.steps"],
    ("ngptlab", "train", "demo", "--weight-d"): ["--weight-decay"],
    ("ngptlab", "train", "demo", "--method", "ngpt_mo"): ["ngpt_modded"],
    ("ngptlab", "train", "demo", "--seams.norm", "ngpt_mo"): ["ngpt_modded"],
    ("ngptlab", "train", "demo", "--schedule.shape", "c"): ["cosine", "constant"],
    ("ngptlab", "train", "demo", "--schedule.shape", "=", "c"): ["cosine", "constant"],
    ("ngptlab", "train", "demo", "--device", "cu"): ["cuda"],
    ("ngptlab", "compare", "demo", "--methods", "gpt", "ngpt_mo"): ["ngpt_modded"],
    ("ngptlab", "compare", "demo", "--train.st"): ["--train.steps"],
    ("ngptlab", "try", "ngpt_mo"): ["ngpt_modded"],
    ("ngptlab", "ladder", "demo", "--to", "ngpt_mo"): ["ngpt_modded"],
    ("ngptlab", "cooldown", "demo", "--shapes", "li"): ["linear"],
    ("ngptlab", "data", "pre"): ["prepare"],
    ("ngptlab", "data", "prepare", "--tok"): ["--tokenizer"],
    ("ngptlab", "data", "get", "fine"): ["fineweb10B"],
    ("ngptlab", "data", "get", "pg19", "--split", "v"): ["validation"],
    ("ngptlab", "check", "coord", "ngpt_mo"): ["ngpt_modded"],
    ("ngptlab", "check", "table", "gpt", "--base", "g"): [],
    ("ngptlab", "export", "run", "folder", "--as", "l"): ["llama"],
    ("ngptlab", "report", "--train.s"): [],
    ("ngptlab", "completion", "z"): ["zsh"],
    ("ngptlab", "sample", "some"): [],
}


def test_bash_offers_what_may_stand_there(written: dict[str, Path]) -> None:
    found = asked("bash", written["bash"], *EXPECTED)
    assert dict(zip(EXPECTED, found, strict=True)) == EXPECTED


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh here")
def test_zsh_offers_the_same(written: dict[str, Path]) -> None:
    found = asked("zsh", written["zsh"], *EXPECTED)
    # zsh's compgen gives all words, and the shell keeps those that begin as the last one does.
    kept = {
        words: [word for word in offered if word.startswith(words[-1])]
        for words, offered in zip(EXPECTED, found, strict=True)
    }
    assert kept == EXPECTED


def test_every_verb_and_option_is_offered(written: dict[str, Path]) -> None:
    top = parser()
    (verbs,) = asked("bash", written["bash"], ("ngptlab", ""))
    assert "train" in verbs and len(verbs) > 20
    offered = asked("bash", written["bash"], *(("ngptlab", verb, "--") for verb in verbs))
    for verb, options in zip(verbs, offered, strict=True):
        known = {option for option in top.options_of(verb) if option.startswith("--")}
        if verb not in ("data", "check"):  # these have verbs of their own
            assert known <= set(options), verb


def test_it_costs_no_torch() -> None:
    code = "import sys; from ngptlab.cli import main; main(['completion', 'bash']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
