"""Stages of the batch are read from a method's file as the method has them, and don't stick to another method."""

from __future__ import annotations

import pytest

from ngptlab import methods
from ngptlab.config import RunConfig, SeamsConfig
from ngptlab.method_files.stages import _written, own_stages
from ngptlab.overrides import apply
from ngptlab.recipes import Recipe
from tiny import tiny_config, write_texts

THIRDS = (0.5, 1.0, 1.5)


@pytest.mark.parametrize("method", methods.names())
def test_the_file_says_what_the_method_has(method: str) -> None:
    config = RunConfig.model_construct(method=method, seams=SeamsConfig())
    assert own_stages(config) == methods.load(method).batch_stages


def test_what_cannot_be_read_is_unknown() -> None:
    assert _written("METHOD = Parts(batch_stages=(1, 1))") == (1.0, 1.0)
    assert _written("METHOD = Parts(norm=1)") == ()
    for text in (
        "METHOD = replace(OTHER)",
        "METHOD = Parts(batch_stages=THIRDS)",
        "METHOD = Parts(**own)",
        "a b",
    ):
        assert _written(text) is None


def test_stages_of_a_resolved_config_follow_its_method(tmp_path_factory: pytest.TempPathFactory) -> None:
    texts = write_texts(tmp_path_factory.mktemp("stages") / "texts")
    plain, growing = (tiny_config(texts, method) for method in ("gpt", "batch_warmup"))
    chosen = tiny_config(texts, train={"batch_stages": (0.5, 1.5)})
    for config, method, expected in (
        (plain, "batch_warmup", THIRDS),
        (growing, "gpt", ()),
        (growing, "batch_warmup", THIRDS),
        (chosen, "batch_warmup", (0.5, 1.5)),
    ):
        by_recipe = Recipe(config=config, methods=(config.method,), tuned={}).arm(method)
        for changed in (by_recipe, apply(config, {"method": method})):
            assert methods.resolve(changed).train.batch_stages == expected
    lent = apply(growing, {"method": "gpt", "train.batch_stages": "0.5,1,1.5"})
    assert methods.resolve(lent).train.batch_stages == THIRDS
