"""Evidence of run directories: final losses, gaps at the cooldown, speed-ups, and measurements of the models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ngptlab.claims.evidence import Ends, Evidence, Positions, Savings, Setting, Turn
from ngptlab.claims.reading import around, seed_label, shown
from ngptlab.config import cooldown_steps
from ngptlab.discover import modules
from ngptlab.evidence.files import damage_in, load
from ngptlab.measure.length.evidence import spans
from ngptlab.measure.recorded import Key
from ngptlab.stats import doubts, gaps
from ngptlab.stats.doubts import Doubt
from ngptlab.stats.records import RunRecord, load_runs
from ngptlab.studies.speedup.numbers import LENGTH, by_length
from ngptlab.studies.speedup.savings import savings

Arms = dict[str, list[RunRecord]]


def read_runs(places: Mapping[Path, str]) -> Evidence:
    """All evidence of finished runs, which are given with the names of their folders.

    Raises:
        ConfigError: a run isn't finished.
        DataError: a run is damaged.
    """
    records = _load(places)
    evidence = _evals(places, records)
    origins = {id(run): name for run, name in zip(records, places.values(), strict=True)}
    for key, arms in _grouped(records).items():
        doubted = _doubts(arms)
        evidence.ends += [_ends(key, arm, origins[id(arm[0])], doubted) for arm in arms.values()]
        evidence.turns += [
            turn
            for ours, theirs in _ordered_pairs(arms)
            for turn in _turn(ours, theirs, origins[id(ours[0])], doubted)
        ]
    for arms in _grouped(records, LENGTH).values():
        evidence.savings += [
            s for ours, theirs in _ordered_pairs(arms) for s in _savings(ours, theirs, origins[id(ours[0])])
        ]
    return evidence


def _load(places: Mapping[Path, str]) -> list[RunRecord]:
    return load_runs(places) if places else []


def _key(run: RunRecord, ignored: Sequence[str] = ()) -> Key:
    """Key that comparable arms share: every setting that is not the method's, and the data's digest."""
    own = ("train.batch_stages",) if run.own_stages else ()
    fields = {
        path: value
        for path, value in doubts.flat(run).items()
        if path not in (*doubts.ARM, *own, *ignored) and not path.startswith(doubts.FREE)
    }
    return (*sorted(fields.items()), run.env.get("data_digest", ""))


def _grouped(records: Sequence[RunRecord], ignored: Sequence[str] = ()) -> dict[Key, Arms]:
    groups: dict[Key, Arms] = {}
    for run in records:
        groups.setdefault(_key(run, ignored), {}).setdefault(run.method, []).append(run)
    return groups


def _ordered_pairs(arms: Arms) -> Iterator[tuple[list[RunRecord], list[RunRecord]]]:
    """(method's runs, baseline's runs) for every two arms, in both orders."""
    return ((ours, theirs) for a, ours in arms.items() for b, theirs in arms.items() if a != b)


def _setting(run: RunRecord, origin: str) -> Setting:
    train = run.config.train
    return Setting(
        origin=origin,
        params=run.params,
        vocabulary_params=2 * run.config.model.vocab_size * run.config.model.d_model,
        tokens=train.tokens,
        context=train.context,
        data=shown(run.config.data.source),
    )


def _hashes(*arms: Sequence[RunRecord]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(run.config.hash for arm in arms for run in arm))


def _doubts(arms: Arms, ignored: Sequence[str] = ()) -> tuple[Doubt, ...]:
    """Doubts about runs that learned nothing, arms not tuned alike, and arms of several settings, as a whole grid would be."""
    return (
        *doubts.learned_nothing(arms),
        *doubts.tuning(arms),
        *doubts.settings(arms, ignored),
    )


def _cooldown(run: RunRecord) -> tuple[float | None, str]:
    schedule = run.config.schedule
    if schedule.shape == "wsd":
        return schedule.cooldown_frac, schedule.cooldown_shape
    return 0.0 if schedule.shape == "constant" else None, schedule.shape


def _ends(key: Key, arm: list[RunRecord], origin: str, doubted: tuple[Doubt, ...]) -> Ends:
    frac, shape = _cooldown(arm[0])
    return Ends(
        setting=_setting(arm[0], origin),
        group=key,
        frac=frac,
        shape=shape,
        method=arm[0].method,
        losses={seed_label(*run.seeds): run.val[-1].loss_nats for run in arm},
        hashes=_hashes(arm),
        doubts=doubted,
    )


def _turn(
    ours: list[RunRecord], theirs: list[RunRecord], origin: str, doubted: tuple[Doubt, ...]
) -> Iterator[Turn]:
    config, (frac, shape) = ours[0].config, _cooldown(ours[0])
    track = gaps.track(ours, theirs)
    start = config.train.steps - cooldown_steps(config)
    at = around(start, track.steps, track.gap_nats, track.stderr, track.count)
    if frac and at and track.pairs:
        yield Turn(
            setting=_setting(ours[0], origin),
            method=ours[0].method,
            baseline=theirs[0].method,
            frac=frac,
            shape=shape,
            before=at[0],
            after=at[1],
            hashes=_hashes(theirs, ours),
            doubts=doubted,
        )


def _savings(ours: list[RunRecord], theirs: list[RunRecord], origin: str) -> Iterator[Savings]:
    if speedup := by_length(ours, theirs):
        longest = max(ours, key=lambda run: run.config.train.steps)
        doubted = _doubts({theirs[0].method: theirs, ours[0].method: ours}, LENGTH)
        yield from savings(speedup, _setting(longest, origin), _hashes(theirs, ours), doubted)


def read_evals(places: Mapping[Path, str]) -> Evidence:
    """Evidence from measurements of trained models, at the end of training and by `ngptlab eval`.

    Raises:
        ConfigError, DataError: as `read_runs`.
    """
    return _evals(places, _load(places))


def _evals(places: Mapping[Path, str], records: Sequence[RunRecord]) -> Evidence:
    evidence = Evidence()
    doubted = {key: _doubts(arms) for key, arms in _grouped(records).items()}
    for (path, origin), run in zip(places.items(), records, strict=True):
        key = _key(run)
        frac, shape = _cooldown(run)
        whose: dict[str, Any] = {
            "frac": frac,
            "shape": shape,
            "setting": _setting(run, origin),
            "method": run.method,
            "seed": seed_label(*run.seeds),
            "hash": run.config.hash,
            "doubts": doubted[key],
        }
        if run.length:
            evidence.positions.append(
                Positions(**whose, group=(key, "held out"), bins=spans(run.length.bins))
            )
        for file in sorted((path / "evals").glob("*.json")):
            with damage_in(file, "measure it again"):
                evidence.add(_of_file(file, run.config.train.steps, key, whose))
    return evidence


def _of_file(file: Path, steps: int, key: Key, whose: dict[str, Any]) -> Evidence:
    content = load(file)
    if not isinstance(content, dict) or content.get("step", steps) != steps:
        return Evidence()  # measured half-way, so it is not about the trained model
    for module in modules("ngptlab.measure", "evidence").values():
        if module.OF_ONE_RUN.eval == content.get("eval"):
            evidence: Evidence = module.OF_ONE_RUN.read(content, key, whose)
            return evidence
    return Evidence()
