"""Learned scales by their effective values, against values set by hand; and in a run's record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ngptlab import methods
from ngptlab.config import Dims, ParamConfig, RunConfig
from ngptlab.experiment import train
from ngptlab.measure.scales.measure import scales
from ngptlab.nn.parts import Scale
from ngptlab.trained import open_trained

MakeConfig = Callable[..., RunConfig]
DIMS = Dims(vocab_size=19, num_layers=2, num_heads=2, d_model=16, d_ff=20)

# Values are float32, and one multiplication in it turns stored into effective ones.
ROUNDING = 2.5e-7


def by_name(model: torch.nn.Module) -> dict[str, dict[str, float]]:
    return {record["name"]: record for record in scales(model)}  # type: ignore[arg-type]


def test_values_set_by_hand() -> None:
    """alpha starts at 0.05 and is stored at 1/sqrt(16): effective = stored * 0.2. s_qk starts at 1: stored * 4."""
    model = methods.build_model("ngpt", DIMS)
    stored = torch.tensor([-3.0, -1.0, 0.0, 1.0, 2.0] + [0.5] * 11)
    with torch.no_grad():
        model.get_parameter("blocks.1.mlp_residual.alpha.stored").copy_(stored)
        model.get_parameter("blocks.0.attn.qk.s_qk.stored").copy_(stored.view(2, 8))
        model.get_parameter("logits_map.s_z.stored").copy_(torch.arange(19.0))
    found = by_name(model)
    alpha, s_qk, s_z = (
        found[n] for n in ("blocks.1.mlp_residual.alpha", "blocks.0.attn.qk.s_qk", "logits_map.s_z")
    )
    assert (alpha["layer"], alpha["place"], alpha["kind"]) == (1, "mlp_residual.alpha", "rate")
    assert alpha["mean"] == pytest.approx(0.2 * 12.5 / 16, rel=ROUNDING)
    assert (alpha["min"], alpha["max"]) == pytest.approx((0, 0.6), rel=ROUNDING)
    assert (s_qk["min"], s_qk["max"]) == pytest.approx((-12, 8), rel=ROUNDING), (
        "no absolute value: only rates have one"
    )
    assert s_qk["mean"] == pytest.approx(4 * 4.5 / 16, rel=ROUNDING)
    assert alpha["negative"] == s_qk["negative"] == 2 / 16
    assert (s_z["layer"], s_z["q25"], s_z["q50"]) == (
        None,
        *(pytest.approx(4 * n, rel=ROUNDING) for n in (4.5, 9)),
    )
    assert found["blocks.0.mlp_residual.alpha"]["mean"] == pytest.approx(0.05, rel=ROUNDING)


def test_other_rules_of_parametrization_store_scales_otherwise() -> None:
    """nugpt stores alpha as 0.03 and starts s_z at sqrt(m); the effective values are what counts."""
    model = methods.build_model("ngpt", DIMS, param=ParamConfig(rules="nugpt", base_width=8))
    found = by_name(model)
    assert model.get_parameter("blocks.0.attn_residual.alpha.stored")[0].item() == pytest.approx(0.03)
    assert found["blocks.0.attn_residual.alpha"]["mean"] == pytest.approx(0.05, rel=ROUNDING)
    assert found["logits_map.s_z"]["mean"] == pytest.approx(2**0.5, rel=ROUNDING)


@pytest.mark.parametrize("method", methods.names())
def test_every_scale_of_every_method(method: str) -> None:
    model = methods.build_model(method, DIMS)
    assert list(by_name(model)) == [n for n, module in model.named_modules() if isinstance(module, Scale)]


def test_a_scale_of_a_new_name_has_no_kind() -> None:
    model = methods.build_model("gpt", DIMS)
    model.novelty = Scale(3, init=-1.0, scale=1.0)
    model.novelty.reset()
    (found,) = scales(model)
    assert (found["name"], found["layer"], found["kind"], found["mean"]) == ("novelty", None, None, -1)


def test_a_run_records_them_at_each_validation(make_config: MakeConfig, tmp_path: Path) -> None:
    run = train(make_config("ngpt"), tmp_path / "run")
    lines = run.read("scales")
    assert [line["step"] for line in lines] == [0, 3, 6, 8]
    for step in (6, 8):
        (line,) = (line for line in lines if line["step"] == step)
        assert line["scales"] == scales(open_trained(run.path, step=step).model)
    means = [next(s["mean"] for s in line["scales"] if s["kind"] == "rate") for line in lines]
    assert len(set(means)) == 4, "they are learned"


def test_a_method_without_scales_has_no_record(make_config: MakeConfig, tmp_path: Path) -> None:
    assert not (train(make_config("gpt"), tmp_path / "run").path / "scales.jsonl").exists()
