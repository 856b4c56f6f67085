"""What a decoder refuses: tokens outside its vocabulary, with a message that names the token and the range."""

from __future__ import annotations

import pytest
import torch

from ngptlab import DataError, Decoder, Dims, build_model


@pytest.fixture(scope="module")
def model() -> Decoder:
    return build_model("gpt", Dims(vocab_size=5, num_layers=1, num_heads=1, d_model=4))


@pytest.mark.parametrize("token", [5, 6, 50_000, -1, -100])
def test_token_out_of_range(model: Decoder, token: int) -> None:
    tokens = torch.tensor([[0, 4, token, 1]])
    with pytest.raises(DataError, match=rf"token {token} .*0\.\.4"):
        model(tokens)
    with pytest.raises(DataError):
        model.loss(tokens, torch.zeros_like(tokens))


def test_edges_of_the_vocabulary_are_in_range(model: Decoder) -> None:
    assert model(torch.tensor([[0, 4]])).shape == (1, 2, 5)


def test_no_tokens_give_no_logits(model: Decoder) -> None:
    assert model(torch.zeros((0, 3), dtype=torch.int64)).shape == (0, 3, 5)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_integer_dtypes(model: Decoder, dtype: torch.dtype) -> None:
    tokens = torch.tensor([[1, 2]])
    assert torch.equal(model(tokens.to(dtype)), model(tokens))


def test_token_losses_average_to_the_loss(model: Decoder) -> None:
    tokens = torch.tensor([[0, 1, 2], [4, 3, 2]])
    each = model.token_losses(tokens, tokens)
    assert each.shape == (2, 3)
    torch.testing.assert_close(each.mean(), model.loss(tokens, tokens))
    expected = -torch.log_softmax(model(tokens), dim=-1)[1, 0, 4]
    torch.testing.assert_close(each[1, 0], expected)
