"""One file a method, found by its name; each defines METHOD, a `Parts`. There is no registry to add it to."""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import torch

from ngptlab import disk
from ngptlab.config import SEEDS, Dims, OptimConfig, ParamConfig, RunConfig, ScheduleConfig, parse
from ngptlab.config.method_name import is_of_file, stem
from ngptlab.errors import ConfigError, nearest, shown
from ngptlab.method_files import running, sources
from ngptlab.nn.decoder import Decoder, Parts
from ngptlab.nn.seams import misfit
from ngptlab.nn.structure import When
from ngptlab.param.apply import apply
from ngptlab.param.rules import rules
from ngptlab.sizes import check_model

WARMUP_SHARE = 0.05
"""A method's own warm-up is never a larger share of a run than this; a warm-up that the user sets is never changed."""


def names() -> list[str]:
    """Every method there is: the files of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def path(name: str) -> Path:
    """The file of a method that comes with the package.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in names():
        file = Path(f"{name}.py")
        hint = f"give the file by its path, ./{file}" if file.is_file() else nearest(name, names())
        raise ConfigError(
            f"method: given {shown(name)}; {hint} (a method is a file in ngptlab/methods/, or a path on the command line)"
        )
    return Path(__path__[0]) / f"{name}.py"


def text(name: str) -> str:
    """The text of a method's file, which is not run.

    Raises:
        ConfigError: there is none of that name.
    """
    return sources.text_of(name) if is_of_file(name) else disk.read_text(path(name))


def load(name: str, lent: Mapping[str, str] | None = None) -> Parts:
    """The seam table of a method; `lent` names other methods whose parts fill some of its seams.

    Raises:
        ConfigError: there is no such method, or it is somebody's own file and not right; says where.
    """
    if is_of_file(name):
        method = _own(name)
    else:
        path(name)
        method = import_module(f"{__name__}.{name}").METHOD
        assert isinstance(method, Parts), f"ngptlab/methods/{name}.py must define METHOD = Parts(...)"
    return replace(method, **{seam: getattr(load(lender), seam) for seam, lender in (lent or {}).items()})


def _own(name: str) -> Parts:
    """The seam table in somebody's own file."""
    if stem(name) in names():
        raise ConfigError(
            f"{sources.known(name).path}: {stem(name)} is a method of ngptlab/methods/; call the file otherwise, because tables "
            "and figures show its name"
        )
    module, source = running.module(name), sources.known(name)
    if not isinstance(found := getattr(module, "METHOD", None), Parts):
        what = f"METHOD is {type(found).__name__}" if hasattr(module, "METHOD") else "there is no METHOD"
        raise ConfigError(
            f"{source.path}, line {sources.line_of(name, 'METHOD')}: {what}; write METHOD = Parts(...), as a file of "
            "`ngptlab new` has it"
        )
    if said := misfit(found):
        raise ConfigError(f"{source.path}, line {sources.line_of(name, 'METHOD')}: {said}")
    return found


def claim(name: str) -> str:
    """The first sentence of a method's docstring."""
    if is_of_file(name):
        return sources.doc(name).strip().partition("\n")[0]
    path(name)
    doc = import_module(f"{__name__}.{name}").__doc__ or ""
    return doc.strip().partition("\n")[0]


def counterpart(implementation: str, kind: str) -> str:
    """The method that a public implementation's `plain` or `normalized` model is an instance of (counterparts.json)."""
    table = disk.read_json(Path(__file__).parent / "counterparts.json")
    return str(table[implementation][kind])


def build_model(
    method: str | Parts,
    dims: Dims,
    *,
    seed: int = 0,
    param: ParamConfig | None = None,
    optim: OptimConfig | None = None,
    stored_dtype: torch.dtype | None = None,
) -> Decoder:
    """A decoder with initial weights by the rules of `param` and as `optim` says, constraint applied, on the CPU in float32.

    `method`: a name, the path of a file, or its parts.
    `stored_dtype`: digits that the blocks' matrices keep from step to step; None: all of float32.

    Raises:
        ConfigError: there is no such method, the rules don't fit it or its sizes, the machine has less memory, or the
            seed is none.
    """
    if not 0 <= seed < SEEDS:
        raise ConfigError(f"seed: given {shown(seed)}; give a whole number from 0 to {SEEDS - 1}")
    check_model(dims)
    parts = load(sources.given(method)) if isinstance(method, str) else method
    with running.blaming():
        model = Decoder(dims, parts)
        apply(model, rules(param or ParamConfig(), dims, tokens=None), optim)
        model.stored_dtype = stored_dtype
        model.reset(seed)
    return model


def resolve(config: RunConfig) -> RunConfig:
    """Put in what the config leaves to the method: its weight decay, its warm-up, its schedule's shape, its stages of the batch.

    A seam that is lent what its own method holds anyway is taken out, so that equal runs have equal hashes. So is what the
    config says of a schedule that is the method's own: its cooldown, and a warm-up that this schedule does not read.

    Raises:
        ConfigError: there is no such method, or the result contradicts itself.
    """
    lent, own = config.seams.lenders, load(config.method)
    parts = load(config.method, lent)
    fields = config.model_dump()
    fields["seams"] = {s: lender for s, lender in lent.items() if getattr(parts, s) != getattr(own, s)}
    if config.optim.weight_decay is None:
        fields["optim"]["weight_decay"] = parts.weight_decay
    fields["schedule"]["shape"] = _shape(config, parts)
    given, own_warmup = config.schedule.warmup_steps, _own_warmup(config, parts)
    if given is None:
        fields["schedule"]["warmup_steps"] = own_warmup
    if fields["schedule"]["shape"] == "method":
        usual = ScheduleConfig()
        fields["schedule"] |= {"cooldown_frac": usual.cooldown_frac, "cooldown_shape": usual.cooldown_shape}
        if given is not None and not _reads_warmup(config, parts, (given, own_warmup)):
            fields["schedule"]["warmup_steps"] = own_warmup
    if config.train.batch_stages is None:
        fields["train"]["batch_stages"] = parts.batch_stages
    return parse(fields, origin=config.name)


def _own_warmup(config: RunConfig, parts: Parts) -> int:
    return min(parts.warmup_steps, math.ceil(WARMUP_SHARE * config.train.steps))


def _reads_warmup(config: RunConfig, parts: Parts, lengths: tuple[int, int]) -> bool:
    """Whether any update of a schedule differs between warm-ups of these two lengths."""
    schedule, steps = parts.schedule.build(config.model), config.train.steps

    def factors(step: int, warmup_steps: int) -> tuple[float, float]:
        when = When(step, steps, warmup_steps, 1.0)
        return schedule.lr(when), schedule.decay(when)

    one, other = lengths
    with running.blaming():
        return one != other and any(factors(step, one) != factors(step, other) for step in range(steps))


def _shape(config: RunConfig, parts: Parts) -> str:
    """The shape of the schedule, of which there is one: the config's, or the method's own.

    Raises:
        ConfigError: both say one, or the config leaves it to a method that has none.
    """
    shape, own = config.schedule.shape, parts.schedule.build(config.model).own_shape
    if own and shape not in ("wsd", "method"):
        raise ConfigError(
            f"schedule.shape {shape}: {config.arm} has a schedule of its own, {parts.schedule}; leave it out, or lend it another "
            "method's with --seams.schedule"
        )
    if not own and shape == "method":
        raise ConfigError(
            f"schedule.shape method: {config.arm} has none of its own; give wsd, cosine or constant"
        )
    return "method" if own else shape
