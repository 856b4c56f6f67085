"""Log-likelihoods of continuations, many at once, which downstream tasks ask for. Works on tokens, not on text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ngptlab.errors import ConfigError, DataError, DivergedError
from ngptlab.nn.decoder import Decoder
from ngptlab.nn.loss import token_scores

BATCH_TOKENS = 16_384
"""Tokens in one forward pass, with padding, which bounds the memory."""

Pair = tuple[Sequence[int], Sequence[int]]
"""Tokens of a context and of its continuation, at least one each."""
Tell = Callable[[int, int], None]
"""Called with (tokens done, all tokens) after every forward pass."""


class Window(NamedTuple):
    """One input of the model; its last positions predict `targets`, the inputs shifted by one."""

    request: int
    inputs: Sequence[int]
    targets: Sequence[int]


def windows(context: Sequence[int], continuation: Sequence[int], max_length: int) -> list[Window]:
    """Inputs of at most `max_length` tokens that predict each token of the continuation exactly once.

    Where context and continuation don't fit, the context loses its beginning. A continuation that doesn't fit by itself is
    divided: its first piece has one token before it, and the last piece is preceded by as many tokens as fit.
    """
    assert context and continuation and max_length > 0, "see `_check`"
    tokens, first = [*context, *continuation], len(context)
    found = []
    while first < len(tokens):
        end = min(first + max_length, len(tokens))
        found.append(Window(0, tokens[max(0, end - 1 - max_length) : end - 1], tokens[first:end]))
        first = end
    return found


def is_cut(pair: Pair, max_length: int) -> bool:
    """Whether a continuation is predicted from less than its whole context."""
    return len(pair[0]) + len(pair[1]) - 1 > max_length


@torch.no_grad()
def log_likelihoods(
    model: Decoder, pairs: Sequence[Pair], *, max_length: int, tell: Tell | None = None
) -> list[tuple[float, bool]]:
    """log p(continuation | context) in nats, and whether greedy decoding gives the continuation, in the order of `pairs`.

    The model runs on batches of windows of similar length, padded at their ends, where earlier positions can't see the
    padding. Logits are computed for continuations only, because with a large vocabulary they would be most of the work.

    Raises:
        ConfigError: `max_length` is below one token.
        DataError: a request has no context to predict from, or an empty continuation, which would score best of all.
        DivergedError: the model's logits are not finite.
    """
    _check(pairs, max_length)
    weight = model.head
    rows_VD = model.logits_map.rows(weight).to(model.compute_dtype or weight.dtype)
    totals, all_greedy = np.zeros(len(pairs)), np.ones(len(pairs), dtype=bool)
    todo = [
        window._replace(request=number)
        for number, pair in enumerate(pairs)
        for window in windows(*pair, max_length)
    ]
    all_tokens, done = sum(len(window.inputs) for window in todo), 0
    for batch in _batches(todo):
        tokens_BT, at_N, targets_N, owners_N = _stack(batch)
        h_ND = model.hidden(tokens_BT.to(weight.device)).flatten(0, 1)[at_N.to(weight.device)]
        losses_N, greedy_N = token_scores(h_ND, rows_VD, targets_N.to(weight.device), model.logits_map)
        np.subtract.at(totals, owners_N, losses_N.double().cpu().numpy())
        np.logical_and.at(all_greedy, owners_N, greedy_N.cpu().numpy())
        done += sum(len(window.inputs) for window in batch)
        if tell:
            tell(done, all_tokens)
    if not np.isfinite(totals).all():
        raise DivergedError(
            "the model gives logits that are not finite; evaluate an earlier checkpoint: --step N"
        )
    return list(zip(totals.tolist(), all_greedy.tolist(), strict=True))


def _check(pairs: Sequence[Pair], max_length: int) -> None:
    if max_length < 1:
        raise ConfigError(f"max_length {max_length}: a model reads one token at least; give 1 or more")
    for number, (context, continuation) in enumerate(pairs):
        if not len(context):
            raise DataError(
                f"request {number}: its context has no tokens, so nothing predicts the continuation's first; "
                "give the end-of-text token at least"
            )
        if not len(continuation):
            raise DataError(
                f"request {number}: its continuation has no tokens, after the context {_end_of(context)}; "
                "give one at least, because log p of nothing is 0 and beats every other answer"
            )


def _end_of(tokens: Sequence[int]) -> str:
    shown = ", ".join(str(int(token)) for token in tokens[-8:])
    return f"[{'..., ' if len(tokens) > 8 else ''}{shown}]"


def _batches(todo: list[Window]) -> Iterator[list[Window]]:
    """Windows by length, the longest first, so that a batch that is too large for the machine fails at once."""
    ordered = sorted(todo, key=lambda window: -len(window.inputs))
    first = 0
    while first < len(ordered):
        rows = max(1, BATCH_TOKENS // len(ordered[first].inputs))
        yield ordered[first : first + rows]
        first += rows


def _stack(batch: list[Window]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, np.ndarray]:
    """Inputs padded with token 0, places of the targets in the flattened batch, the targets, and their requests."""
    T = len(batch[0].inputs)
    tokens_BT = np.zeros((len(batch), T), dtype=np.int64)
    for row, window in enumerate(batch):
        tokens_BT[row, : len(window.inputs)] = window.inputs
    at_N = np.concatenate(
        [
            np.arange(row * T + len(w.inputs) - len(w.targets), row * T + len(w.inputs))
            for row, w in enumerate(batch)
        ]
    )
    targets_N = np.concatenate([np.asarray(window.targets, dtype=np.int64) for window in batch])
    owners_N = np.repeat([window.request for window in batch], [len(window.targets) for window in batch])
    return torch.from_numpy(tokens_BT), torch.from_numpy(at_N), torch.from_numpy(targets_N), owners_N
