"""Help by section with the values of the command line at hand; the config of a run, whole, as a file that verbs take."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ngptlab import recipes
from ngptlab.cli import FIELDS_ALONE, WITH_FIELDS, main, parser, studies
from ngptlab.config import blank, load
from ngptlab.options.field_help import examples
from ngptlab.overrides import split

Captured = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("work")


def page_of(capsys: Captured, *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    return capsys.readouterr().out


def test_help_shows_what_the_command_line_has(capsys: Captured) -> None:
    page = page_of(
        capsys, "train", "demo", "--lr", "2^-6", "--method", "ngpt", "--seams.norm", "gpt", "--help"
    )
    (lr,) = [line for line in page.splitlines() if line.startswith("--optim.lr ")]
    assert "0.015625" in lr and "example: ngptlab train" in page
    assert "optim: AdamW" in page and "train: How much" in page
    assert page.count("--seams") == 1 and "(now norm=gpt)" in page


def test_every_verb_has_an_example_that_is_understood(capsys: Captured) -> None:
    page = page_of(capsys, "--help")
    for verb, example in examples().items():
        words = shlex.split(example)
        assert words[0] == verb and re.search(rf"^    {verb}\s", page, re.M)
        fields = verb in (*WITH_FIELDS, *FIELDS_ALONE, *(study.NAME for study in studies().values()))
        rest = split(words, blank(), parser().options_of(verb))[1] if fields else words
        if "./my_idea.py" not in words:  # which is to be written
            assert parser().parse_known_args(rest)[1] == []
    missing = [line.split()[0] for line in page.splitlines() if line.startswith("    ") and line[4] != " "]
    assert set(missing) <= {*examples(), "VERB"}


@pytest.mark.parametrize("recipe", recipes.names())
def test_a_config_is_printed_whole_and_taken_again(recipe: str, capsys: Captured) -> None:
    fields = ["--lr", "2^-9", "--steps", "20000", "--seams.norm", "ngpt", "--track", "wandb"]
    assert main(["config", recipe, *fields]) == 0
    page, said = capsys.readouterr()
    assert "lr: 0.001953125  # in the recipe: " in page or recipes.recipe(recipe).config.optim.lr == 2**-9
    assert "  norm: ngpt" in page and "track: wandb  # in the recipe: off" in page.replace('"', "")
    Path("own.yaml").write_text(page)
    config = load(Path("own.yaml"))
    assert (config.optim.lr, config.train.steps, config.track) == (2**-9, 20000, "wandb")
    assert main(["config", "own.yaml"]) == 0
    again, said = capsys.readouterr()
    assert (
        "0 fields differ" in said
        and [line.partition("  #")[0] for line in page.splitlines()] == again.splitlines()
    )


def test_a_config_of_another_method(capsys: Captured) -> None:
    assert main(["config", "demo", "--method", "ngpt"]) == 0
    page, said = capsys.readouterr()
    assert "method: ngpt\n" in page and "lr: 0.0078125\n" in page and "by --method: gpt" in said
