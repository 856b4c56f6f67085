"""A run's model with lm-eval's interface. Import this late, because it imports lm-eval, an optional dependency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.api.model import TemplateLM

from ngptlab.data.tokens.tokenizer import Tokenizer
from ngptlab.errors import ConfigError, DataError
from ngptlab.measure.tasks.loglikelihood import Pair, Tell, is_cut, log_likelihoods
from ngptlab.nn.decoder import Decoder


class LabLM(TemplateLM):  # type: ignore[misc]  # lm-eval has no types
    """Scores text. Every context begins with the end-of-text token, as every document did in training.

    A context of more than `max_length` tokens loses its beginning, that token included. `requests` counts the requests, `cut`
    those that lost some.
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
        """The token before a text that has no context."""
        return self._text.end_of_text

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Tokens of a text, with an end of text before them unless `add_special_tokens` is false."""
        tokens: list[int] = self._text.encode(string).tolist()
        return tokens if add_special_tokens is False else [self.eot_token_id, *tokens]

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """log p(continuation | context) in nats and whether greedy decoding gives it, by request.

        Raises:
            DataError: a continuation has no token of its own.
        """
        for number, request in enumerate(requests):
            context, continuation = request.args
            # lm-eval looks at the first token after an empty context, whether there is one or not.
            if not context and not self.tok_encode(continuation, add_special_tokens=False):
                raise _nothing_to_score(number, context, continuation)
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)  # type: ignore[no-any-return]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts in nats, each token predicted once; see `loglikelihood.windows`.

        A text without tokens is certain, so it has 0 nats, as in lm-eval.
        """
        texts = [self.tok_encode(request.args[0], add_special_tokens=False) for request in requests]
        found = iter(self._score([([self.eot_token_id], tokens) for tokens in texts if tokens]))
        return [next(found)[0] if tokens else 0.0 for tokens in texts]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Not supported.

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
        for number, (texts, _, tokens) in enumerate(requests):
            if not tokens:
                raise _nothing_to_score(number, *texts)
        return self._score([(context, continuation) for _, context, continuation in requests])

    def _score(self, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
        self.requests += len(pairs)
        self.cut += sum(is_cut(pair, self.max_length) for pair in pairs)
        return log_likelihoods(self._model, pairs, max_length=self.max_length, tell=self._tell)


def _nothing_to_score(number: int, context: str, continuation: str) -> DataError:
    end = f"...{context[-60:]}" if len(context) > 60 else context
    why = "one of the context's spans where they join" if continuation else "it is empty"
    return DataError(
        f"request {number}: the continuation {continuation[:60]!r} has no token of its own after the context {end!r} ({why}); "
        "part them at another place, because log p of nothing is 0 and beats every other answer"
    )
