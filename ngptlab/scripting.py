"""What a script or a notebook calls: train a config, compare methods, load what was trained and let it write."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from ngptlab import experiment
from ngptlab.compare import compare as compare_methods
from ngptlab.config import DeviceConfig, RunConfig
from ngptlab.config.method_name import stem
from ngptlab.data.tokens.choose import tokenizer
from ngptlab.data.tokens.detokenize import detokenizer
from ngptlab.data.tokens.gpt2 import is_cached
from ngptlab.device import on_cuda
from ngptlab.errors import ConfigError
from ngptlab.jobs.in_turn import ReporterFactory
from ngptlab.ledger.book import Ledger
from ngptlab.measure.trained import Trained
from ngptlab.method_files.sources import given
from ngptlab.method_files.stages import with_method
from ngptlab.options.methods import in_fields
from ngptlab.options.runs import console_reporter
from ngptlab.overrides import Given, apply, flat
from ngptlab.recipes import Recipe, recipe
from ngptlab.runs import Run
from ngptlab.sampling.choose import Sampling
from ngptlab.sampling.generate import generate
from ngptlab.sizes import block_values, embedding_values
from ngptlab.terminal import remark
from ngptlab.train.progress import Reporter, Silent
from ngptlab.trained import open_trained
from ngptlab.world.launched import check_alone

Whose = RunConfig | Recipe | str | Path
"""A config, a recipe, a recipe's name, or the path of a config file."""


def train(
    config: Whose,
    out: Path | str | None = None,
    *,
    method: str = "",
    overrides: Given = None,
    reporter: Reporter | None = None,
    quiet: bool = False,
    profile_steps: int = 0,
) -> Run:
    """Train a config to its end in the run directory `out`, default runs/<name>; progress goes to stderr.

    A finished run is returned as it is; an interrupted one goes on from its newest checkpoint.

    Args:
        config: of the run; of a recipe its first method's, or that of `method`.
        method: name, or path of a file.
        overrides: other fields of the config: `{"train.steps": 60}`, `{"train": {"steps": 60}}` or `["train.steps=60"]`.
        reporter: is told of progress in place of the console; `quiet`: nobody is.

    Raises:
        LabError: wrong settings, data or directory; two methods; DivergedError where the loss ran away.
        Stopped: SIGINT or SIGTERM asked for it; the run was saved.
    """
    changes = in_fields(flat(overrides))
    method = given(method) if method else ""
    if method and changes.get("method", method) != method:
        raise ConfigError(
            f"method {stem(method)}, and overrides with method {stem(str(changes['method']))}: give one of them"
        )
    if isinstance(config, RunConfig):
        whole = with_method(config, method) if method else config
    else:
        found = _recipe(config)
        whole = found.arm(method or str(changes.get("method", found.methods[0])))
    resolved = apply(whole, changes)
    of_run = _silent if quiet else console_reporter
    with nullcontext(reporter) if reporter else of_run(resolved) as tell:
        return experiment.train(resolved, _path(out), reporter=tell, profile_steps=profile_steps)


def compare(
    recipe: Whose,
    *,
    out: Path | str | None = None,
    methods: Sequence[str] = (),
    seeds: int = 1,
    ledger: Ledger | Path | str | None = None,
    overrides: Given = None,
    workers: int = 1,
    reporter: ReporterFactory | None = None,
    quiet: bool = False,
) -> Path:
    """Train every method of a recipe that is missing below `out`, default out/<recipe>; write the page and return its path.

    Beside the page stands `report.json`, its numbers.

    Args:
        methods: names, or paths of files, the baseline first; none: the recipe's.
        overrides: as for `train`; they hold for all methods alike.
        workers: runs trained at once, each in a process of its own; 0: what is faster.
        reporter: makes what is told of a run's progress in this process, in place of the console; `quiet`: nobody is.

    Raises:
        LabError: wrong settings or data, or torchrun started several processes; finished runs stay and are not trained again.
        Stopped: a signal asked for it; the run under way was saved.
    """
    check_alone("compare")
    found = _recipe(recipe)
    return compare_methods(
        found,
        out=_path(out) or Path("out") / found.config.name,
        methods=[given(name) for name in methods],
        seeds=seeds,
        ledger=Ledger(Path(ledger)) if isinstance(ledger, str | Path) else ledger,
        overrides=in_fields(flat(overrides)),
        workers=workers,
        reporter=reporter or (_silent if quiet else console_reporter),
        sampler=sample,
        quiet=quiet,
        tell=(lambda line: None) if quiet else remark,
    )


@dataclass(frozen=True)
class Loaded(Trained):
    """A trained model, its run and its tokenizer."""

    def generate(
        self,
        prompt: str = "",
        *,
        max_tokens: int = 200,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int = 0,
    ) -> str:
        """The prompt and what the model goes on with, until it ends the text or after `max_tokens`.

        Temperature 0 takes the likeliest token each time. The same seed gives the same text.

        Raises:
            LabError: a setting is out of range, or the tokenizer is not to be had.
        """
        data = self.config.data
        vocabulary = tokenizer(data.tokenizer, data.end_of_text)
        tokens = [vocabulary.end_of_text, *vocabulary.encode(prompt).tolist()]
        text, pieces = detokenizer(vocabulary, tokens), [prompt]
        for (token,) in generate(
            self.model,
            tokens,
            max_tokens=max_tokens,
            sampling=Sampling(temperature, top_k, top_p, min_p),
            seed=seed,
            end=vocabulary.end_of_text,
            vocab_size=vocabulary.vocab_size,
        ):
            if token is not None and token != vocabulary.end_of_text:
                pieces.append(text.add(token))
        return "".join([*pieces, text.end()])


def load(run: Run | Path | str, *, step: int | None = None, device: str = "") -> Loaded:
    """The model of a run as training left it, or as it was after `step` updates where a checkpoint of that is kept.

    Args:
        device: `auto`, `cpu` or `cuda`; empty: the run's.

    Raises:
        ConfigError: not a run directory, or it has no checkpoint (of that step).
        CheckpointError: the checkpoint is damaged, or another run's.
    """
    path = run.path if isinstance(run, Run) else Path(run)
    on = DeviceConfig.model_validate({"kind": device}) if device else None
    found = open_trained(path, step=step, device=on)
    return Loaded(found.run, found.step, found.model)


MOST_PARAMS = 50_000_000
"""Most values in the matrices of a model that is sampled for a page. On a CPU a larger one takes minutes for a few lines, so it
is not even built."""


def sample(run: Path, *, max_tokens: int, temperature: float, seed: int) -> tuple[int, str]:
    """The step of a run's newest model and the text that it writes from an end of text on, for a page.

    Raises:
        LabError: the run has no checkpoint, its tokenizer is not to be had, or the model is too large for a CPU.
    """
    config = Run(run).config
    params = block_values(config.model) + embedding_values(config.model)
    if params > MOST_PARAMS and not on_cuda(config.device):
        raise ConfigError(f"a model of {params:,} parameters is too slow on a CPU; ngptlab sample does it")
    if config.data.tokenizer == "gpt2" and not is_cached():
        raise ConfigError(
            "GPT-2's vocabulary is not cached here, and a page asks no network; ngptlab sample does"
        )
    loaded = load(run)
    return loaded.step, loaded.generate(max_tokens=max_tokens, temperature=temperature, seed=seed)


def _recipe(whose: Whose) -> Recipe:
    if isinstance(whose, Recipe):
        return whose
    if isinstance(whose, RunConfig):
        return Recipe(config=whose, methods=(whose.method,), tuned={})
    return recipe(str(whose))


def _path(out: Path | str | None) -> Path | None:
    return None if out is None else Path(out)


def _silent(config: RunConfig) -> AbstractContextManager[Reporter]:
    return nullcontext(Silent())
