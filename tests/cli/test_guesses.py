"""What people type who have not read the manual: other libraries' options, slips of the hand, numbers as they are spoken."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import ngptlab
from ngptlab.cli import main
from ngptlab.config import blank, flatten
from ngptlab.config.words import PROVENANCE, WORDS, nearest_field, short
from ngptlab.gpus import gpu_speed
from ngptlab.method_files.shipped import method_names
from ngptlab.methods import names
from ngptlab.options.types import count, number, positive, size
from ngptlab.runs import Run

Captured = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("work")

TYPOS = {
    "trian demo": "did you mean 'train'?",
    "data prepar": "did you mean 'prepare'?",
    "train demmo": "did you mean 'demo'?",
    "train demo --method nGPT": "did you mean 'ngpt'?",
    "train demo --method qk-norm": "did you mean 'qk_norm'?",
    "train demo --seams.norm nGPT": "did you mean 'ngpt'?",
    "compare demo --methods gpt n_gpt": "did you mean 'ngpt'?",
    "ladder demo --from gtp --to ngpt": "did you mean 'gpt'?",
    "ladder demo --from gpt --to ngtp": "did you mean 'ngpt'?",
    "try ngptt": "did you mean 'ngpt'?",
    "methods --diff gpt nGPT": "did you mean 'ngpt'?",
    "check coord nGPT": "did you mean 'ngpt'?",
    "new mine --from GPT": "did you mean 'gpt'?",
    "plan demo --gpu RTX4080": "did you mean 'RTX 4090'?",
    "train demo --widht 64": "did you mean '--model.d-model'?",
    "train demo --model.widht 64": "did you mean 'model.d_model'?",
    "train demo --learning-rate 1": "did you mean '--optim.lr'?",
    "train demo --block_size 64": "did you mean '--train.context'?",
    "train demo --resume": "give the same command again",
    "compare demo --epochs 3": "--train.steps",
    "compare demo --method-s gpt": "did you mean '--methods'?",
    "sweep demo --lsr 2^-9": "did you mean '--lrs'?",
    "eval run --evals val --steps 3": "did you mean '--step'?",
    "train demo --schedule.shape cosin": "'cosine'",
    "train demo --lr 2^-9x": "2^-9",
    "train demo --compile": "give one of auto, on, off; its default is auto",
    "train demo --steps": "--steps: given no value; its default is",
}


@pytest.mark.parametrize("command", TYPOS)
def test_a_slip_is_told_with_what_was_meant(command: str, capsys: Captured) -> None:
    assert main(command.split()) == 2
    said = capsys.readouterr().err
    assert TYPOS[command] in said and said.count("\n") == 1


def test_slips_are_told_before_torch_is_there() -> None:
    """All of them in one process, because each would pay for the interpreter alone."""
    code = (
        "import sys, time\nfrom ngptlab.cli import main\n"
        "for command in sys.argv[1:]:\n    assert main(command.split()) == 2, command\n"
        "for name in ('torch', 'matplotlib', 'scipy'): assert name not in sys.modules, name\n"
    )
    home = Path(ngptlab.__file__).parent.parent
    begun = time.process_time_ns()
    done = subprocess.run([sys.executable, "-c", code, *TYPOS], capture_output=True, text=True, cwd=home)
    assert done.returncode == 0, done.stderr
    assert time.process_time_ns() - begun < 10**9


def test_fields_have_a_short_name_where_no_other_has_it(tiny: list[str], capsys: Captured) -> None:
    device = ["--device", "cpu", "--threads", "1"]
    fields = ["--lr", "2^-9", "--steps", "4", "--batch-size=2", "--context", "1_6", "--weight_decay", "1e-1"]
    assert main(["train", "demo", *tiny, *fields, *device, "--compile", "off", "--out", "run"]) == 0
    config = Run(Path("run")).config
    assert (config.optim.lr, config.train.steps, config.train.batch_size) == (2**-9, 4, 2)
    assert (config.train.context, config.optim.weight_decay) == (16, 0.1)


def test_a_verb_s_own_option_is_no_field(capsys: Captured) -> None:
    """`sweep --base-width` is of the grid, `param.base_width` of the config."""
    assert main(["sweep", "demo", "--lrs", "2^-9", "--base-width", "40"]) == 2
    assert "base" in capsys.readouterr().err


def test_short_names_are_those_of_one_field() -> None:
    fields = [path for path, _ in flatten(blank())]
    found = short(fields)
    assert (
        found["lr"] == "optim.lr" and found["device"] == "device.kind" and found["context"] == "train.context"
    )
    assert not {"every", "at", "seed", "norm", "loss", "search"} & set(found), (
        "of several sections, or too little said"
    )
    assert set(PROVENANCE) <= set(fields) and set(WORDS) <= set(fields)
    for path, words in WORDS.items():
        assert not set(words) & set(found), "a word that is a field's own needs no hint"
        for word in words:
            assert nearest_field(word, fields) == f"did you mean {path!r}?"


def test_numbers_as_people_write_them() -> None:
    assert (count("1e3"), count("1_000"), count("2^10"), count(" 007 "), size("2**6")) == (
        1000,
        1000,
        1024,
        7,
        64,
    )
    assert (positive("2^-9"), positive("3e-4"), number("-0.5"), number("2^-0.5")) == (
        2**-9,
        3e-4,
        -0.5,
        2**-0.5,
    )
    for wrong in ("1e-3", "2^-1", "0x10", "1__0", "two", "²", "1" * 101):
        with pytest.raises(Exception, match="whole number"):
            count(wrong)
    for wrong in ("", "2^", "^2", "2^^2", "10^999", "1,5"):
        with pytest.raises(Exception, match="a number"):
            number(wrong)


def test_gpus_by_what_they_are_called() -> None:
    assert gpu_speed("RTX4090", 1) == gpu_speed("rtx 4090", 1) == gpu_speed("4090", 1) == 165e12
    assert gpu_speed("h100", 0.5) == 989e12 / 2


def test_the_names_of_methods_are_found_without_them() -> None:
    assert method_names() == names()
