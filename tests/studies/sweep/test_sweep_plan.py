"""From a grid to cells: which there are, which are one, and which make no sense."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ngptlab import methods
from ngptlab.cli import main
from ngptlab.config import Dims, RunConfig
from ngptlab.errors import ConfigError
from ngptlab.jobs.cell import Cell
from ngptlab.recipes import Recipe, Sweep, names, recipe
from ngptlab.stats.learning_rate import parse_rate, show_rate
from ngptlab.studies.sweep.plan import changed, grid_of, plan, widened
from ngptlab.studies.sweep.verb import _fields as fields_of

SMALL = recipe("mup-bytes-small")


def cells_of(found: Recipe = SMALL, *, resolve: Any = methods.resolve, **grid: Any) -> list[Cell]:
    return plan(found, grid_of(found, **grid), resolve=resolve)


def test_the_recipe_carries_its_grid() -> None:
    own = SMALL.sweep
    assert own is not None
    cells = cells_of()
    assert len(cells) == len(SMALL.methods) * len(own.params) * len(own.widths) * len(own.lrs)
    assert len({cell.config.hash for cell in cells}) == len(cells)
    assert len({cell.config.run_name for cell in cells}) == len(cells), "each has a directory of its own"
    widths = [cell.config.model.d_model for cell in cells]
    assert widths == sorted(widths), "the cheap ones first"


@pytest.mark.parametrize("name", names())
def test_every_grid_of_a_recipe_is_valid(name: str) -> None:
    found = recipe(name)
    if found.sweep is not None:
        assert all(not cell.refusal for cell in cells_of(found))


def test_a_cell_is_what_the_grid_says() -> None:
    (cell,) = cells_of(methods=["ngpt"], params=["mup"], widths=[64], lrs=[2**-7], base_width=32)
    config = cell.config
    assert (config.method, config.optim.lr, config.optim.lr_grid) == ("ngpt", 2**-7, ())
    assert (config.param.rules, config.param.base_width) == ("mup", 32)
    assert (config.model.d_model, config.model.num_heads, config.model.d_ff) == (64, 4, int(8 / 3 * 64))
    assert config.optim.weight_decay is not None, "resolved, so that the hash is the run's"


def test_rates_tuned_before_leave_no_trace() -> None:
    """The grid that an earlier search recorded is under the hash: it would train equal runs twice."""
    for found in (recipe("demo"), changed(recipe("demo"), {"train.steps": "7"})):
        cells = cells_of(found, lrs=[2**-9], seeds=2)
        assert [(c.config.optim.lr, c.config.optim.lr_grid) for c in cells] == [(2**-9, ())] * 4


def test_seeds_set_weights_and_data() -> None:
    cells = cells_of(methods=["gpt"], params=["sp"], widths=[32], lrs=[2**-9], seeds=3)
    assert [(c.config.seed, c.config.data.seed) for c in cells] == [(0, 0), (1, 1), (2, 2)]


def test_one_hash_is_one_cell() -> None:
    lrs = [parse_rate(text) for text in ("2^-9", "2**-9", "0.001953125", "2^-8")]
    assert len(cells_of(methods=["gpt"], params=["sp"], widths=[32], lrs=lrs)) == 2


def test_rules_that_agree_at_the_base_stay_two_cells() -> None:
    """Only the hash is looked at; the two runs must come out equal, which checks the rules."""
    cells = cells_of(methods=["gpt"], params=["sp", "mup"], widths=[32], lrs=[2**-9])
    assert [(c.config.param.rules, c.config.param.base_width) for c in cells] == [("sp", 0), ("mup", 32)]


def test_the_base_is_the_smallest_width_unless_given() -> None:
    assert grid_of(SMALL).base_width == 32
    assert grid_of(SMALL, widths=[128, 64]).base_width == 64
    assert grid_of(SMALL, widths=[128, 64], base_width=32).base_width == 32


def test_a_refused_cell_says_why_and_the_others_stay() -> None:
    def resolve(config: RunConfig) -> RunConfig:
        if config.param.rules == "nugpt" and config.method == "gpt":
            raise ConfigError("param.rules nugpt: no constraint on weights")
        return methods.resolve(config)

    cells = cells_of(resolve=resolve, widths=[32], lrs=[2**-9])
    refused = [cell for cell in cells if cell.refusal]
    assert len(cells) == 6 and len(refused) == 1
    assert refused[0].refusal == "param.rules nugpt: no constraint on weights"
    with pytest.raises(ConfigError, match=r"no cell of the grid can be trained: .*no constraint"):
        cells_of(resolve=resolve, methods=["gpt"], params=["nugpt"])


def test_the_mlp_keeps_its_rule_or_its_proportion() -> None:
    usual = Dims(vocab_size=257, num_layers=1, num_heads=2, d_model=32)
    assert widened(usual, 80).d_ff == Dims.default_d_ff(80)
    own = usual.model_copy(update={"d_ff": 96})
    assert widened(own, 80).d_ff == 240
    with pytest.raises(ConfigError, match="no whole number in proportion"):
        widened(usual.model_copy(update={"d_ff": 97}), 80)


def test_overrides_change_every_cell_and_the_rule_of_the_mlp_follows() -> None:
    found = changed(SMALL, {"train.steps": "7", "model.num_heads": "4"})
    cells = cells_of(found, widths=[24])
    assert {(c.config.train.steps, c.config.model.d_head, c.config.model.d_ff) for c in cells} == {(7, 8, 64)}


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"widths": [40]}, "--widths: given 40; it must be a multiple of the head width 16"),
        ({"widths": [0]}, "--widths: given 0"),
        ({"base_width": 40}, "--base-width: given 40"),
        ({"methods": ["gtp"]}, "did you mean 'gpt'"),
        ({"methods": ["gpt", "gpt"]}, "--methods: given gpt gpt; name each once"),
        ({"seeds": 0}, "--seeds: given 0"),
        ({"params": ["mop"]}, "param.rules"),
    ],
)
def test_wrong_grids(grid: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        cells_of(**grid)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "option"), [("optim.lr", "--lrs"), ("param.rules", "--params"), ("data.seed", "--seeds")]
)
def test_fields_of_the_grid_are_no_overrides(field: str, option: str) -> None:
    with pytest.raises(ConfigError, match=f"sweep sets it; give {option}"):
        changed(SMALL, {field: "1"})


def test_a_recipe_without_a_grid_needs_rates() -> None:
    bare = replace(SMALL, sweep=None)
    with pytest.raises(ConfigError, match="--lrs: mup-bytes-small has no grid of its own"):
        cells_of(bare)
    cells = cells_of(bare, lrs=[2**-9])
    assert [(c.config.method, c.config.param.rules, c.config.model.d_model) for c in cells] == [
        ("gpt", "sp", 32),
        ("ngpt", "sp", 32),
    ]


def test_names_with_dashes_find_files_with_underscores() -> None:
    assert {"mup-bytes", "mup-bytes-small"} <= set(names())
    assert recipe("mup-bytes").sweep == Sweep(
        widths=(64, 256, 768),
        lrs=tuple(2.0**k for k in range(-13, -3)),
        params=("sp", "mup"),
        base_width=64,
    )


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("2^-9", 2**-9),
        ("2**-9", 2**-9),
        ("2^(-9)", 2**-9),
        ("0.002", 0.002),
        ("2e-3", 2e-3),
        ("2^-8.5", 2**-8.5),
    ],
)
def test_rates(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "0", "nan", "inf", "2^", "2^9999", "0^-1", "__import__('os')"]
)
def test_wrong_rates(text: str) -> None:
    with pytest.raises(ConfigError, match="--lrs: given"):
        parse_rate(text)


def test_rates_are_shown_as_powers() -> None:
    assert (show_rate(2**-9), show_rate(1.0), show_rate(0.003)) == ("2^-9", "2^0", "0.003")


def test_any_field_can_be_crossed() -> None:
    crossed = {"optim.weight_decay": ["0", "0.1"], "optim.init": ["std:0.02", "fan_in,unembedding=zero"]}
    cells = cells_of(methods=["gpt"], params=["sp"], widths=[32], lrs=[2**-9, 2**-8], seeds=2, fields=crossed)
    assert len(cells) == 2 * 2 * 2 * 2 and len({cell.config.hash for cell in cells}) == len(cells)
    found = {(c.config.optim.weight_decay, c.config.optim.init) for c in cells}
    assert found == {(d, i) for d in (0.0, 0.1) for i in crossed["optim.init"]}
    one = cells[-1]
    assert one.settings == "optim.weight_decay=0.1 optim.init=fan_in,unembedding=zero"
    assert one.title.endswith("lr 2^-8 optim.weight_decay=0.1 optim.init=fan_in,unembedding=zero seed 1")
    with pytest.raises(ConfigError, match=r"optim\.lr: sweep sets it; give --lrs"):
        cells_of(fields={"optim.lr": ["1"]})
    with pytest.raises(ConfigError, match="name each once"):
        cells_of(fields={"optim.eps": ["1e-8", "1e-8"]})
    with pytest.raises(ConfigError, match="weight_decay: given '-1'"):
        cells_of(fields={"optim.weight_decay": ["-1"]})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["optim.decay=0,1"], "no such field; did you mean"),
        (["optim.eps"], "give FIELD=VALUE,VALUE"),
        (["optim.eps=1e-8,,1e-9"], "give FIELD=VALUE,VALUE"),
        (["optim.eps=1e-8", "optim.eps=1e-9"], "given twice"),
    ],
)
def test_a_wrong_grid_is_one_line(given: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "demo", "--lrs", "2^-9", "--grid", *given]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_a_value_with_commas_takes_semicolons() -> None:
    found = fields_of(["optim.init=std:0.02;fan_in,unembedding=zero", "optim.weight-decay=0,0.1"])
    assert found == {
        "optim.init": ["std:0.02", "fan_in,unembedding=zero"],
        "optim.weight_decay": ["0", "0.1"],
    }
