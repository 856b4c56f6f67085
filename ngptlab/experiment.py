"""One run from its config: build everything, train, evaluate, record. Where methods, data, training and evals meet."""

from __future__ import annotations

import contextlib
import datetime
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import ngptlab
from ngptlab import methods
from ngptlab.config import RunConfig
from ngptlab.data.batches import Batches, CutBatches, OwnRows
from ngptlab.data.corpus import Corpus, long_document_tokens, open_data
from ngptlab.data.shards.given_folder import more_tokens
from ngptlab.device import Device, at_once, describe, memory_bytes, on_cuda, open_device
from ngptlab.disk import write_json
from ngptlab.errors import CheckpointError, ConfigError, LabError, WorldError
from ngptlab.initial_model import initial_model
from ngptlab.introduction import introduce
from ngptlab.learned import nothing_learned
from ngptlab.measure.held_out import HeldOut, hold_out
from ngptlab.measure.length.measure import length_loss
from ngptlab.measure.scales.measure import scales
from ngptlab.measure.val.measure import document_losses, validation_loss
from ngptlab.method_files.copies import changed
from ngptlab.nn.decoder import Decoder
from ngptlab.runs import ANEW, Run
from ngptlab.sizes import check_fits, training_parts
from ngptlab.tracking.sink import check_installed
from ngptlab.tracking.tracker_process import TrackerProcess, hand_on
from ngptlab.train.background import Background
from ngptlab.train.checkpoint import list_checkpoints
from ngptlab.train.divided import check_divides
from ngptlab.train.lends import check_lends
from ngptlab.train.profile import fit_profiled
from ngptlab.train.progress import WARNING, Reporter, Silent
from ngptlab.train.stop import Stopped, StopRequest, listen
from ngptlab.train.trainer import StepBatches, Trainer
from ngptlab.train.twice import check_recomputes
from ngptlab.train.unwritten import Unwritten
from ngptlab.train.updates import divides_weights
from ngptlab.whole import check_finished
from ngptlab.world.processes import open_world
from ngptlab.world.split import check_split, number_of, of_one_process
from ngptlab.world.world import ALONE, World


def train(
    config: RunConfig, out: Path | None = None, *, reporter: Reporter | None = None, profile_steps: int = 0
) -> Run:
    """Train a config to its end in the run directory `out`, default runs/<name>; profile `profile_steps` of its updates.

    A finished run is returned as it is; an interrupted one goes on from its newest checkpoint. Processes that torchrun started
    train it together. The first of them has its directory; the others write and tell nothing.

    Raises:
        LabError: wrong settings, data or directory; DivergedError where the loss ran away; WorldError where processes lost
            each other.
        Stopped: SIGINT or SIGTERM asked for it; the run was saved.
    """
    config = methods.resolve(config)
    path = out or Path("runs") / config.run_name
    with open_world(config.device) as world:
        reporter = reporter if reporter and world.writes else Silent()
        return _train(config, path, reporter, profile_steps, world)


def _train(config: RunConfig, path: Path, reporter: Reporter, profile_steps: int, world: World) -> Run:
    check_split(config, world)
    if world.ask(lambda: _is_done(config, path, reporter, profile_steps)):
        return _open_run(config, path, world)
    check_memory(of_one_process(config, world), runs=_on_one_memory(config, world))
    if config.device.recompute == "on":
        check_recomputes(methods.load(config.method, config.seams.lenders), config.arm)
    if config.device.shard != "off" and world.size > 1:
        check_divides(methods.load(config.method, config.seams.lenders), config.arm)
    if divides_weights(config.device, world):
        check_lends(
            methods.load(config.method, config.seams.lenders),
            config.arm,
            recompute=config.device.recompute == "on",
        )
    # Device, data and model come first, so that a wrong setting leaves no directory behind.
    setting = open_setting(config, world)
    batches, model = open_batches(config, setting.corpus, world), initial_model(config)
    run = _open_run(config, path, world)
    tracker_name = config.track if world.writes else "off"
    # Signals are caught only while there is something to save. The wait for the tracker comes after: any signal ends it.
    with (
        run.lock(),
        TrackerProcess(tracker_name, run, reporter.note) as tracker,
        listen() as request,
        Background() as background,
    ):
        if world.ask(lambda: run.done):
            world.once(lambda: check_finished(run))
            reporter.note(f"another process has just finished it in {path}")
            return run
        try:
            world.once(lambda: _begin_noted(run, setting, model, reporter))
            tracker.start()
            trainer = trainer_of(config, run, setting, model, batches, reporter, request, background)
            if profile_steps:
                trainer.runs_ahead = False  # in every process, because all must come to a step's end alike
            fit_profiled(trainer, profile_steps) if profile_steps and world.writes else trainer.fit()
            conclude(trainer, setting)
        except Stopped as stopped:
            run.stop(str(stopped), stopped.step)
            reporter.note(f"saved in {run.path}")
            with contextlib.suppress(WorldError):
                world.meet()  # a launcher gives the others little time once one process has ended
            raise
        except LabError as error:
            run.fail(error)
            raise
        if (number := world.any_stop(request.signal_number)) is not None:
            # A signal came during the last step or the evaluation. This run is done, and what would follow it must not start.
            raise Stopped(number, config.train.steps)
    return run


def _is_done(config: RunConfig, path: Path, reporter: Reporter, profile_steps: int) -> bool:
    if not (path / "config.json").exists() or not (there := Run.open(path, config)).done:
        return False
    check_finished(there)
    if profile_steps:
        raise ConfigError(f"{path}: already done, no step is left to profile; give another --out")
    reporter.note(f"already done in {path}")
    hand_on(config.track, there, reporter.note)
    return True


def _open_run(config: RunConfig, path: Path, world: World) -> Run:
    """The run's directory, or what stands for it where another process has it."""
    return Run.open(path, config) if world.writes else Unwritten(path, config)


def _begin_noted(run: Run, setting: Setting, model: Decoder, reporter: Reporter) -> None:
    processes = setting.world.size
    begin(run, setting, reporter, **({"processes": processes} if processes > 1 else {}))
    is_what = introduce(run.config, run.path, model, setting.device, setting.corpus)
    for line in [*is_what, *changed(run.path, run.config)]:
        reporter.note(line)


def _on_one_memory(config: RunConfig, world: World) -> int:
    """Processes that share the memory that `check_memory` looks at: each GPU has its own."""
    return 1 if on_cuda(config.device) else world.local_size


def check_memory(config: RunConfig, runs: int = 1) -> None:
    """Hold what so many runs of a config take together against the memory that there is, before anything is built.

    Raises:
        ConfigError: they take more.
    """
    there, where = memory_bytes(config.device)
    what = "a training step" if runs == 1 else f"a step of {runs} runs at once"
    check_fits(training_parts(config) * runs, there, what=what, where=where)


@dataclass(frozen=True)
class Setting:
    """What runs of one size on one text share."""

    device: Device
    corpus: Corpus
    held_out: HeldOut
    world: World = ALONE


def open_setting(config: RunConfig, world: World = ALONE) -> Setting:
    """Device and data of a config, once its tracker is known to be installed.

    Raises:
        LabError: one of them is not to be had; WorldError: another process has another config or other data.
    """
    world.once(lambda: check_installed(config.track))
    device = open_device(config.device, config.train)
    corpus = world.in_turn(lambda: open_data(config))
    if world.size > 1:
        facts = {
            "the config": config.hash,
            "the text": corpus.digest,
            "ngptlab": ngptlab.__version__,
            "torch": torch.__version__,
            "the kind of device": describe(device)["device_name"],
        }
        world.check_alike("before the first step", {name: number_of(fact) for name, fact in facts.items()})
    return Setting(device, corpus, hold_out(config, corpus), world)


def open_batches(config: RunConfig, corpus: Corpus, world: World = ALONE) -> StepBatches:
    """This process's rows of the training batches of a config, cut into sequences as long as its method wants them."""
    batches = Batches(
        corpus.train,
        context=config.train.context,
        batch_size=config.train.batch_size,
        seed=config.data.seed,
        shuffled=config.data.order == "shuffled",
        remedy=more_tokens(config.data, "train"),
        before=config.train.sequences_before if config.train.batch_stages else None,
    )
    whole = batches if world.size == 1 else OwnRows(batches, world.rows)
    length = methods.load(config.method, config.seams.lenders).context.build(config.model)
    if length is None:
        return whole
    return CutBatches(whole, lambda step: length(step, config.train.steps, config.train.context))


def begin(run: Run, setting: Setting, reporter: Reporter, **more: int) -> None:
    """Forget how an earlier attempt ended, and write `env.json`, with `more`, or hold the run against it.

    Raises:
        ConfigError: the data are not those that the run began with.
    """
    # If this attempt is killed, the end of an earlier one must not be taken for its own.
    (run.path / "summary.json").unlink(missing_ok=True)
    _record_environment(run, setting.device, setting.corpus, reporter, more)


def trainer_of(
    config: RunConfig,
    run: Run,
    setting: Setting,
    model: Decoder,
    batches: StepBatches,
    reporter: Reporter,
    request: StopRequest,
    background: Background,
) -> Trainer:
    """The trainer of a run's model, which also measures it on the way."""
    return Trainer(
        config=config,
        run=run,
        device=setting.device,
        model=model,
        batches=batches,
        evaluate=lambda: _validate(model, setting),
        reporter=reporter,
        request=request,
        scales=lambda: scales(model),
        world=setting.world,
        background=background,
    )


def conclude(trainer: Trainer, setting: Setting) -> None:
    """The evaluation after the last step, and the word that the run is done."""
    config, run, model = trainer.config, trainer.run, trainer.model
    _evaluate_parts(config, run, model, setting)
    _evaluate_length(config, run, model, setting, trainer.reporter)
    windows = config.train.steps * config.train.batch_size
    warning = setting.world.ask(lambda: _warning(run, config))
    if skipped := trainer.skipped:
        trainer.reporter.note(
            f"{WARNING}{skipped} of {config.train.steps} batches made no update (skipped.jsonl)"
        )
    if warning:
        trainer.reporter.note(WARNING + warning)
    run.finish(
        "done",
        step=config.train.steps,
        params=model.num_params(),
        tokens=config.train.tokens,
        flops_per_token=trainer.token_flops,
        epochs=windows / trainer.batches.num_windows,
        **setting.world.ask(lambda: results(run)),
        **({"skipped": skipped} if skipped else {}),
        **({"warning": warning} if warning else {}),
    )


def results(run: Run) -> dict[str, float]:
    """Loss and time of a finished run, for its summary: validation after the last step, its standard error, seconds in steps."""
    last = [record for record in run.read("evals") if record["eval"] == "val"][-1]
    return {
        "final_loss_nats": last["loss_nats"],
        "final_loss_stderr_nats": last["stderr_nats"],
        "train_seconds": round(sum(record["step_seconds"] for record in run.read("timing")), 3),
    }


def _warning(run: Run, config: RunConfig) -> str:
    """What a reader of the finished run must be told; empty where there is nothing."""
    val = [(e["step"], e["loss_nats"], e["stderr_nats"]) for e in run.read("evals") if e["eval"] == "val"]
    return nothing_learned(val, config.model.vocab_size)


def _validate(model: Decoder, setting: Setting) -> dict[str, Any]:
    held_out = setting.held_out
    return validation_loss(
        model,
        held_out.inputs_NT,
        held_out.targets_NT,
        text_bytes=held_out.target_bytes,
        documents_NT=held_out.of_document_NT,
        world=setting.world,
    )


def _is_measured(run: Run, what: str) -> bool:
    return any(record["eval"] == what for record in run.read("evals"))


def _evaluate_parts(config: RunConfig, run: Run, model: Decoder, setting: Setting) -> None:
    held_out, world = setting.held_out, setting.world
    if world.ask(lambda: _is_measured(run, "parts")):
        return
    texts = held_out.inputs_NT, held_out.targets_NT, held_out.of_document_NT
    result = document_losses(model, *texts, world=world)
    run.append("evals", {"step": config.train.steps, **result})


def _evaluate_length(
    config: RunConfig, run: Run, model: Decoder, setting: Setting, reporter: Reporter
) -> None:
    held_out, world = setting.held_out, setting.world
    if world.ask(lambda: _is_measured(run, "length")):
        return
    if not len(held_out.documents_NT):
        reporter.note(
            f"no held-out document of {long_document_tokens(config)} tokens: the length evaluation is left out"
        )
        return
    result = length_loss(model, held_out.documents_NT, context=config.train.context, world=world)
    run.append("evals", {"step": config.train.steps, **result})
    first, last = result["bins"][0], result["bins"][-1]
    reporter.note(
        f"by position over {result['documents']} documents: {first['loss_nats']:.3f} nats before {first['to']}, "
        f"{last['loss_nats']:.3f} from {last['from']} to {last['to']}"
    )


def _record_environment(
    run: Run, device: Device, corpus: Corpus, reporter: Reporter, more: dict[str, int]
) -> None:
    """Write `env.json`, or hold a resumed run against it.

    Raises:
        ConfigError: the data are not those that the run began with.
        CheckpointError: `env.json` doesn't say which these were.
    """
    now: dict[str, Any] = {
        "ngptlab": ngptlab.__version__,
        "commit": _commit(),
        **describe(device),
        **at_once(),
        **more,
        "data_digest": corpus.digest,
        "train_tokens": len(corpus.train),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    then = run.env
    if not then and not list_checkpoints(run.path / "checkpoints"):
        write_json(run.path / "env.json", now)
        return
    if not isinstance(then.get("data_digest"), str):
        raise CheckpointError(
            f"{run.path / 'env.json'}: missing, or without the data_digest that says which data the run began with; {ANEW}"
        )
    if then["data_digest"] != corpus.digest:
        raise ConfigError(
            f"{run.path}: began on data {then['data_digest'][:8]}, the source now gives {corpus.digest[:8]}; "
            "restore the text, or give another --out"
        )
    changed = [
        f"{key} {then.get(key)} -> {now[key]}"
        for key in ("torch", "device", "device_name", "threads")
        if then.get(key) != now[key]
    ]
    before, processes = then.get("processes", 1), now.get("processes", 1)
    if before != processes:
        changed.append(f"processes {before} -> {processes}")
    if changed:
        reporter.note(f"not bit-exact from here on: {', '.join(changed)}")


def _commit() -> str:
    """The commit of the checkout that this package is imported from; '' where it is installed without one."""
    here = Path(__file__).parent.parent
    if not (here / ".git").exists():
        return ""
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
