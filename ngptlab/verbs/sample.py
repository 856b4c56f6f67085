"""The verb `sample`: text after a prompt, on the terminal as it comes."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from ngptlab.errors import DataError
from ngptlab.options.types import count, number, seed, size
from ngptlab.output import discard
from ngptlab.terminal import pass_on, remark

PROMPT_BYTES = 1 << 20
"""Most bytes of a prompt that are read from standard input."""


def add(sample: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    sample.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    sample.add_argument(
        "prompt", metavar="PROMPT", help="text to go on from, as it is; `-`: from standard input"
    )
    sample.add_argument("--max-tokens", type=count, default=200, metavar="N", help="at most (default: 200)")
    sample.add_argument("--num", type=count, default=1, metavar="N", help="continuations (default: 1)")
    sample.add_argument("--seed", type=seed, default=0, help="of the random numbers (default: 0)")
    sample.add_argument(
        "--temperature",
        type=number,
        default=1.0,
        metavar="T",
        help="0: always the likeliest token (default: 1)",
    )
    sample.add_argument("--top-k", type=size, default=0, metavar="K", help="only the K likeliest tokens")
    sample.add_argument(
        "--top-p", type=number, default=1.0, metavar="P", help="only the likeliest, up to a mass of P"
    )
    sample.add_argument(
        "--min-p",
        type=number,
        default=0.0,
        metavar="P",
        help="only tokens at least P times as likely as the likeliest",
    )
    sample.add_argument("--step", type=size, metavar="N", help="checkpoint to use (default: the newest)")
    sample.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), help="where to compute (default: the run's)"
    )


def act(options: argparse.Namespace) -> int:
    """Write prompt and continuations to standard output, one after the other; what was done to standard error."""
    try:
        _act(options)
    except BrokenPipeError:
        # The reader has seen enough, as `head` does. Nothing more may be written, not even at exit.
        discard(sys.stdout)
    return 0


def for_page(run: Path, *, max_tokens: int, temperature: float, seed: int) -> tuple[int, str]:
    """As `scripting.sample`, which brings torch: a page of runs without checkpoints needs none."""
    from ngptlab.scripting import sample

    return sample(run, max_tokens=max_tokens, temperature=temperature, seed=seed)


def _act(options: argparse.Namespace) -> None:
    from ngptlab.config import DeviceConfig
    from ngptlab.data.tokens.choose import tokenizer
    from ngptlab.data.tokens.detokenize import detokenizer
    from ngptlab.sampling.choose import Sampling
    from ngptlab.sampling.generate import generate
    from ngptlab.trained import open_trained

    sampling = Sampling(options.temperature, options.top_k, options.top_p, options.min_p)
    prompt = _prompt(options.prompt)
    device = DeviceConfig(kind=options.device) if options.device else None
    trained = open_trained(options.run, step=options.step, device=device)
    vocabulary = tokenizer(trained.config.data.tokenizer, trained.config.data.end_of_text)
    tokens = [vocabulary.end_of_text, *vocabulary.encode(prompt).tolist()]
    rows = generate(
        trained.model, tokens, max_tokens=options.max_tokens, sampling=sampling, seed=options.seed,
        num=options.num, end=vocabulary.end_of_text, vocab_size=vocabulary.vocab_size,
    )  # fmt: skip
    context = trained.config.train.context
    if len(tokens) + options.max_tokens > context:
        remark(f"trained on {context} tokens at a time; what comes later is extrapolated")
    if vocabulary.spelling == "whole":
        remark("this tokenizer's decoder looks at a text as a whole, so all of it comes at its end")
    page = _Page(prompt, options.num)
    texts = [detokenizer(vocabulary, tokens) for _ in range(options.num)]
    made, start = 0, time.perf_counter()
    for row_tokens in rows:
        for row, token in enumerate(row_tokens):
            if token == vocabulary.end_of_text:
                page.end(row, texts[row].end())
            elif token is not None:
                page.add(row, texts[row].add(token))
        made += sum(token is not None for token in row_tokens)
    seconds = time.perf_counter() - start
    for row, text in enumerate(texts):
        page.end(row, text.end())
    remark(f"{made} tokens in {seconds:.1f} s, {made / seconds:.0f} a second")


def _prompt(given: str) -> str:
    try:
        raw = sys.stdin.buffer.read(PROMPT_BYTES + 1) if given == "-" else given.encode()
        if len(raw) > PROMPT_BYTES:
            raise DataError(f"the prompt has more than {PROMPT_BYTES} bytes; give the end of it")
        return raw.decode("utf-8-sig" if given == "-" else "utf-8")
    except UnicodeError:
        raise DataError("the prompt is not UTF-8; convert it first") from None


class _Page:
    """Continuations in their order: the first that has not ended is written as it comes, those after it wait."""

    def __init__(self, prompt: str, num: int) -> None:
        self.prompt, self.num = prompt, num
        self.waiting = [""] * num
        self.ended = [False] * num
        self.current = 0
        self._write(self._head())

    def add(self, row: int, piece: str) -> None:
        if row == self.current:
            self._write(piece)
        else:
            self.waiting[row] += piece

    def end(self, row: int, piece: str) -> None:
        if self.ended[row]:
            return
        self.add(row, piece)
        self.ended[row] = True
        while self.current < self.num and self.ended[self.current]:
            self._write("\n")
            self.current += 1
            if self.current < self.num:
                self._write(self._head() + self.waiting[self.current])

    def _head(self) -> str:
        return (f"--- {self.current + 1} of {self.num}\n" if self.num > 1 else "") + self.prompt

    def _write(self, text: str) -> None:
        pass_on(text)
