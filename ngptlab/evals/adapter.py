"""The model of a run as lm-eval sees one. Imports lm-eval, an optional dependency: import this late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.api.model import TemplateLM

from ngptlab.data.tokenize import Tokenizer
from ngptlab.errors import ConfigError
from ngptlab.evals.loglikelihood import Pair, Tell, is_cut, log_likelihoods
from ngptlab.nn.decoder import Decoder


class LabLM(TemplateLM):  # type: ignore[misc]  # lm-eval has no types
    """Scores text. Every context begins with the end-of-text token, as every document did in training.

    A context of more than `max_length` tokens loses its beginning, that token included. `requests` and `cut` count what
    was asked and how many of these were cut.
    """

    def __init__(
        self, model: Decoder, tokenizer: Tokenizer, *, max_length: int, tell: Tell | None = None
    ) -> None:
        super().__init__()
        self.max_length = max_length
        self.requests = self.cut = 0
        self._model, self._text, self._tell = model, tokenizer, tell

    @property
    def eot_token_id(self) -> int:
        """What stands before a text that has no context."""
        return self._text.end_of_text

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Tokens of a text after an end of text; without it where `add_special_tokens` is false."""
        tokens: list[int] = self._text.encode(string).tolist()
        return tokens if add_special_tokens is False else [self.eot_token_id, *tokens]

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """log p(continuation | context) in nats and whether greedy decoding gives it, by request."""
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)  # type: ignore[no-any-return]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts in nats, each token predicted once; see `loglikelihood.windows`."""
        texts = (request.args[0] for request in requests)
        pairs = [([self.eot_token_id], self.tok_encode(text, add_special_tokens=False)) for text in texts]
        return [total for total, _ in self._score(pairs)]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Not here.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "a task that generates text can't be scored here; take one that compares log-likelihoods, "
            "or export the run and give it to lm-eval's own `hf` model"
        )

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        return self._score([(context, continuation) for _, context, continuation in requests])

    def _score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        self.requests += len(pairs)
        self.cut += sum(is_cut(pair, self.max_length) for pair in pairs)
        return log_likelihoods(self._model, pairs, max_length=self.max_length, tell=self._tell)
