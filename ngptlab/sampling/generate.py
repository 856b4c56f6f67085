"""Tokens after a prompt, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ngptlab.errors import ConfigError
from ngptlab.nn.cache import Cache
from ngptlab.nn.decoder import Decoder
from ngptlab.nn.folded import folded
from ngptlab.sampling.choose import Sampling, draw, probabilities
from ngptlab.sizes import Part, check_fits, host_bytes

AS_IT_IS = Sampling()
VALUES_OF_A_DRAW = 3
"""float64 for each token of the vocabulary: logits, probabilities, and their running sum."""


def generate(
    model: Decoder,
    prompt: Sequence[int],
    *,
    max_tokens: int,
    sampling: Sampling = AS_IT_IS,
    seed: int = 0,
    num: int = 1,
    end: int | None = None,
    vocab_size: int | None = None,
    cached: bool = True,
) -> Iterator[list[int | None]]:
    """The next token of each of `num` continuations, again and again; None for one that has ended.

    The random numbers of continuation i follow from `seed` and i alone, so they are the same whatever `num` is.

    Args:
        prompt: tokens, at least one; training documents begin with their corpus's end of text.
        max_tokens: of each continuation.
        end: the token after which a continuation has ended; it is given, too.
        vocab_size: only tokens below it are drawn: a model's vocabulary may be padded, its tokenizer's is not.
        cached: whether keys and values are kept. If not, all tokens are read again for each new one: the reference.

    Raises:
        ConfigError: no prompt, a negative seed, or more continuations than fit into memory.
        DataError: a token is outside the model's vocabulary.
    """
    if not len(prompt):
        raise ConfigError("generate: the prompt is empty; give at least an end of text")
    if seed < 0:
        raise ConfigError(f"seed: given {seed}; allowed: 0 or more")
    _check_room(model, len(prompt), num)
    draws = [np.random.default_rng((seed, row)) for row in range(num)]
    prompt_1T = torch.tensor([list(prompt)], device=model.E_in.device)
    read = _Cached(folded(model)) if cached else _Again(model)
    return _go_on(read, prompt_1T, max_tokens, sampling, draws, end, vocab_size)


def _check_room(model: Decoder, length: int, num: int) -> None:
    dims = model.dims
    parts = [
        Part("probabilities", num * VALUES_OF_A_DRAW * 8 * dims.vocab_size, {"num": num}),
        Part("keys and values", num * 2 * 4 * length * dims.num_layers * dims.d_model, {"num": num}),
    ]
    check_fits(parts, host_bytes(), what=f"{num} continuations at once", where="this machine")


@torch.inference_mode()
def _go_on(
    read: _Cached | _Again,
    prompt_1T: Tensor,
    max_tokens: int,
    sampling: Sampling,
    draws: Sequence[np.random.Generator],
    end: int | None,
    vocab_size: int | None,
) -> Iterator[list[int | None]]:
    num, place = len(draws), prompt_1T.device
    alive = list(range(num))
    h_ND = read(prompt_1T).expand(num, -1)
    read.select(torch.zeros(num, dtype=torch.int64, device=place))
    for count in range(1, max_tokens + 1):
        logits_NV = read.model.logits(h_ND.unsqueeze(1))[:, 0, :vocab_size]
        uniform_N = torch.tensor([draws[row].random() for row in alive], dtype=torch.float64, device=place)
        tokens_N = draw(probabilities(logits_NV, sampling), uniform_N)
        found = dict(zip(alive, tokens_N.tolist(), strict=True))
        yield [found.get(row) for row in range(num)]
        going = [index for index, row in enumerate(alive) if found[row] != end]
        if not going or count == max_tokens:
            return
        if len(going) < len(alive):
            rows = torch.tensor(going, device=place)
            read.select(rows)
            alive, tokens_N = [alive[index] for index in going], tokens_N[rows]
        h_ND = read(tokens_N.unsqueeze(1))


class _Cached:
    """The hidden state of the last token, from the new tokens and what is kept of those before."""

    def __init__(self, model: Decoder) -> None:
        self.model, self.cache = model, Cache(model.dims)

    def __call__(self, tokens_NT: Tensor) -> Tensor:
        return self.model.hidden(tokens_NT, self.cache)[:, -1]

    def select(self, rows: Tensor) -> None:
        self.cache.select(rows)


class _Again:
    """The same hidden state, computed from all tokens each time."""

    def __init__(self, model: Decoder) -> None:
        self.model = model
        self.tokens_NT = torch.empty(1, 0, dtype=torch.int64, device=model.E_in.device)

    def __call__(self, tokens_NT: Tensor) -> Tensor:
        self.tokens_NT = torch.cat((self.tokens_NT, tokens_NT), dim=1)
        return self.model.hidden(self.tokens_NT)[:, -1]

    def select(self, rows: Tensor) -> None:
        self.tokens_NT = self.tokens_NT[rows]
