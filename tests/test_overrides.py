"""`--section.field value` for any field: spellings, tuples, hints for wrong ones, and what follows from an override."""

from __future__ import annotations

from pathlib import Path

import pytest

from ngptlab import ConfigError, Dims, RunConfig
from ngptlab.config import flatten
from ngptlab.options.field_help import LENT, one_line_of_seams, rows, sections, summary
from ngptlab.overrides import apply, flat, split
from ngptlab.recipes import recipe

CONFIG = RunConfig(name="x", method="gpt", model=Dims(vocab_size=17, num_layers=1, num_heads=2, d_model=8))


def run(*arguments: str, config: RunConfig = CONFIG) -> RunConfig:
    overrides, rest = split(arguments, config)
    assert rest == []
    return apply(config, overrides)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--train.batch_size", "6"],
        ["--train.batch-size", "6"],
        ["--train.batch_size=6"],
        ["--train.batch-size=6"],
        ["--train.batch_size", "5", "--train.batch-size=6"],
    ],
)
def test_spellings(arguments: list[str]) -> None:
    assert run(*arguments).train.batch_size == 6


def test_values_are_typed_by_the_field() -> None:
    config = run("--optim.lr", "1e-3", "--method", "ngpt", "--seed=7", "--data.source", "text:a-b=c d")
    assert config.optim.lr == 0.001 and config.method == "ngpt" and config.seed == 7
    assert config.data.source == "text:a-b=c d", "dashes and equals signs in a value stay"
    assert run() == CONFIG


def test_tuples_take_all_values_up_to_the_next_option() -> None:
    config = run("--optim.betas", "0.8", "0.9", "--optim.lr-grid", "1e-3", "2e-3", "4e-3", "--seed", "1")
    assert config.optim.betas == (0.8, 0.9)
    assert config.optim.lr_grid == (0.001, 0.002, 0.004)
    assert config.seed == 1
    assert run("--optim.lr_grid=0.5").optim.lr_grid == (0.5,)


@pytest.mark.parametrize("option", ["optim.lr_grid", "optim.lr-grid", "--optim.lr-grid"])
def test_a_script_s_texts_have_the_same_spellings(option: str) -> None:
    assert flat([f"{option}=0.1 0.2"]) == {"optim.lr_grid": ["0.1", "0.2"]}
    assert flat(["betas=0.9 0.95"]) == {"optim.betas": ["0.9", "0.95"]}


@pytest.mark.parametrize("text", ["", " ", "1", "1,1", "1.0 1", "1, 1"])
def test_one_size_of_the_batch_is_one_config(text: str) -> None:
    config = run("--train.batch-stages", text)
    assert config.train.batch_stages == () and config.hash == CONFIG.hash


def test_sizes_of_the_batch_have_commas_or_blanks() -> None:
    for text in ("0.5,1,1.5", "0.5 1 1.5", " 0.5, 1 , 1.5"):
        assert run("--train.batch-stages", text).train.batch_stages == (0.5, 1, 1.5)
    for text in ("0.5,,1.5", ",0.5,1.5", "half"):
        with pytest.raises(ConfigError, match="batch_stages"):
            run("--train.batch-stages", text)
    recorded = CONFIG.model_dump(mode="json")
    recorded["train"]["batch_stages"] = [1.0]
    assert RunConfig.model_validate(recorded).train.batch_stages == (1.0,), "a run's folder keeps its hash"


def test_what_is_no_field_is_left() -> None:
    overrides, rest = split(["demo", "--train.steps", "3", "--out", "runs", "--quiet", "more"], CONFIG)
    assert overrides == {"train.steps": "3"}
    assert rest == ["demo", "--out", "runs", "--quiet", "more"]


@pytest.mark.parametrize(
    ("argument", "nearest"),
    [
        ("--train.step", "train.steps"),
        ("--optim.weight-decy", "optim.weight_decay"),
        ("--train.batchsize=3", "train.batch_size"),
        ("--model.heads", "model.num_heads"),
    ],
)
def test_unknown_field_gets_the_nearest(argument: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        split([argument, "3"], CONFIG)
    assert repr(nearest) in str(caught.value) and "no such field" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rest", [[], ["--seed", "1"]])
@pytest.mark.parametrize("option", ["--train.steps", "--optim.betas"])
def test_missing_value(option: str, rest: list[str]) -> None:
    with pytest.raises(ConfigError, match=rf"{option}: given no value; its default is"):
        split([option, *rest], CONFIG)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--train.steps", "many"], "train.steps: given 'many'"),
        (["--train.steps", "0"], "train.steps: given '0'"),
        (["--optim.lr", "nan"], "optim.lr: given 'nan'"),
        (["--optim.lr", "-1"], "optim.lr: given '-1'"),
        (["--optim.betas", "0.9"], "optim.betas"),
        (["--schedule.shape", "wds"], "'wsd'"),
        (["--train.steps", "none"], "train.steps: given None"),
        (["--device.micro_batch", "5"], "must divide"),
        (["--model.num_heads", "3"], "num_heads 3"),
    ],
)
def test_a_wrong_value_is_one_line(arguments: list[str], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(*arguments)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_derived_width_follows_the_one_it_derives_from() -> None:
    assert run("--model.d_model", "48").model.d_ff == 128
    assert run("--model.d_model", "48", "--model.d_ff", "7").model.d_ff == 7
    own = CONFIG.model_copy(
        update={"model": Dims(vocab_size=17, num_layers=1, num_heads=2, d_model=8, d_ff=5)}
    )
    assert run("--model.d_model", "48", config=own).model.d_ff == 5, "a width that was chosen stays"
    assert run("--model.d_model", "48", "--model.d_ff", "0", config=own).model.d_ff == 128


@pytest.mark.parametrize("none", ["none", "None"])
def test_none_leaves_it_to_the_method(none: str) -> None:
    given = run("--optim.weight_decay", "0.2", "--schedule.warmup_steps", "3")
    assert (given.optim.weight_decay, given.schedule.warmup_steps) == (0.2, 3)
    back = run("--optim.weight_decay", none, "--schedule.warmup_steps", none, config=given)
    assert back == CONFIG


def test_the_given_config_is_left_as_it_was() -> None:
    before = CONFIG.model_dump()
    run("--optim.lr", "0.5", "--model.d_model", "16")
    assert CONFIG.model_dump() == before


def test_help_has_every_field_and_a_sentence_for_it() -> None:
    """Those of `seams` are one line, because they are all alike."""
    found = [row for section, record in sections(CONFIG) if section != LENT for row in rows(record, section)]
    paths = [path for path, _ in flatten(CONFIG) if not path.startswith("seams.")]
    assert sorted(option for option, _, _ in found) == sorted("--" + path.replace("_", "-") for path in paths)
    assert [option for option, _, sentence in found if not sentence.strip()] == []
    assert {option: shown for option, shown, _ in found}["--optim.betas"] == "0.9 0.95"
    assert all(summary(record).endswith(".") for _, record in sections(CONFIG))
    line = one_line_of_seams(CONFIG.seams.model_copy(update={"norm": "ngpt"}))
    assert "attn-scale" in line and "(now norm=ngpt)" in line


def test_the_vocabulary_is_the_tokenizer_s_where_none_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    """Up to a multiple of 64, and said once, however many arms there are."""
    for _ in range(2):
        assert run("--data.tokenizer", "gpt2").model.vocab_size == 50304
    assert capsys.readouterr().err.count("the 50257 tokens of gpt2") == 1
    assert run("--data.tokenizer", "gpt2", "--vocab-size", "60000").model.vocab_size == 60000
    assert run("--data.tokenizer", "bytes").model.vocab_size == 17, "what the config has already stays"
    with pytest.raises(ConfigError, match="did you mean 'gpt2'"):
        run("--data.tokenizer", "gpt3")


def test_a_config_file_may_leave_its_vocabulary_to_its_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("name: x\nmethod: gpt\nmodel: {num_layers: 1, num_heads: 1, d_model: 8}\n")
    assert recipe(str(path)).config.model.vocab_size == 320
    path.write_text("name: x\nmethod: gpt\nmodel: {num_layers: 1}\n")
    with pytest.raises(ConfigError, match="num_heads is missing"):
        recipe(str(path))
    path.write_text("name: x\nmethod: gpt\nmodel: 3\ndata: 4\n")
    with pytest.raises(ConfigError):
        recipe(str(path))


def test_short_names_and_powers() -> None:
    config = run("--lr", "2^-9", "--steps", "2^3", "--warmup-steps=1")
    assert (config.optim.lr, config.train.steps, config.schedule.warmup_steps) == (2**-9, 8, 1)
    overrides, rest = split(["--lr", "1", "--steps", "2"], CONFIG, own={"--lr"})
    assert overrides == {"train.steps": "2"} and rest == ["--lr", "1"], "a verb's own option is none"
