"""Roles by name: the table, and an unknown name is an error that says how to mend it."""

from __future__ import annotations

import pytest

from ngptlab import ConfigError
from ngptlab.nn.roles import D_MODEL_AXIS, MATRICES, Role, placed, role


@pytest.mark.parametrize(
    ("name", "expected", "axis"),
    [
        ("E_in", Role.EMBEDDING, 1),
        ("E_out", Role.UNEMBEDDING, 1),
        ("blocks.0.attn.W_q", Role.READER, 1),
        ("blocks.0.attn.W_k", Role.READER, 1),
        ("blocks.11.attn.W_v", Role.READER, 1),
        ("blocks.0.mlp.W_u", Role.READER, 1),
        ("blocks.0.mlp.W_v", Role.READER, 1),
        ("blocks.0.attn.W_o", Role.WRITER, 0),
        ("blocks.0.mlp.W_o", Role.WRITER, 0),
        ("blocks.0.attn.qk.s_qk.stored", Role.SCALE, None),
        ("logits_map.s_z.stored", Role.SCALE, None),
    ],
)
def test_table(name: str, expected: Role, axis: int | None) -> None:
    assert role(name) is expected
    assert D_MODEL_AXIS.get(role(name)) == axis


def test_every_role_is_reachable_and_every_matrix_has_an_axis() -> None:
    assert {*MATRICES.values(), Role.SCALE, Role.INNER} == set(Role)
    assert set(D_MODEL_AXIS) == set(Role) - {Role.SCALE, Role.INNER}


@pytest.mark.parametrize("name", ["blocks.0.attn.bias", "W_z", "blocks.0.W_q.weight", "stored_too", ""])
def test_unknown_name_is_an_error_that_teaches(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        role(name)
    message = str(caught.value)
    assert repr(name) in message and "W_q" in message and "Scale" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("blocks.0.attn.W_q", (0, "attn.W_q")),
        ("blocks.11.mlp.gate.s_u", (11, "mlp.gate.s_u")),
        ("logits_map.s_z", (None, "logits_map.s_z")),
        ("E_in", (None, "E_in")),
    ],
)
def test_place_in_the_model(name: str, expected: tuple[int | None, str]) -> None:
    assert placed(name) == expected
