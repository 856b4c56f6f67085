"""One run from its config: build everything, train, evaluate, record. Where methods, data, training and evals meet."""

from __future__ import annotations

import datetime
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import ngptlab
from ngptlab import methods
from ngptlab.config import RunConfig
from ngptlab.data.batches import Batches, CutBatches
from ngptlab.data.corpus import Corpus, long_document_tokens, open_data
from ngptlab.data.shards.given_folder import more_tokens
from ngptlab.device import Device, describe, memory_bytes, open_device
from ngptlab.disk import write_json
from ngptlab.errors import CheckpointError, ConfigError, LabError
from ngptlab.learned import nothing_learned
from ngptlab.measure.held_out import HeldOut, hold_out
from ngptlab.measure.length.measure import length_loss
from ngptlab.measure.scales.measure import scales
from ngptlab.measure.val.measure import document_losses, validation_loss
from ngptlab.method_files.copies import changed
from ngptlab.nn.decoder import Decoder, Parts
from ngptlab.runs import ANEW, Run
from ngptlab.sizes import check_fits, training_parts
from ngptlab.tracking.sink import check_installed
from ngptlab.tracking.tracker_process import TrackerProcess
from ngptlab.train.checkpoint import list_checkpoints
from ngptlab.train.profile import fit_profiled
from ngptlab.train.progress import Reporter, Silent
from ngptlab.train.stop import Stopped, StopRequest, listen
from ngptlab.train.trainer import StepBatches, Trainer
from ngptlab.whole import check_finished


def train(
    config: RunConfig, out: Path | None = None, *, reporter: Reporter | None = None, profile_steps: int = 0
) -> Run:
    """Train a config to its end in the run directory `out`, default runs/<name>; profile `profile_steps` of its updates.

    A finished run is returned as it is; an interrupted one goes on from its newest checkpoint.

    Raises:
        LabError: wrong settings, data or directory; DivergedError where the loss ran away.
        Stopped: SIGINT or SIGTERM asked for it; the run was saved.
    """
    reporter = reporter or Silent()
    config = methods.resolve(config)
    path = out or Path("runs") / config.run_name
    if (path / "config.json").exists() and (there := Run.open(path, config)).done:
        check_finished(there)
        if profile_steps:
            raise ConfigError(f"{path}: already done, no step is left to profile; give another --out")
        reporter.note(f"already done in {path}")
        return there
    check_memory(config)
    # Device, data and model come first, so that a wrong setting leaves no directory behind.
    setting = open_setting(config)
    batches, model = open_batches(config, setting.corpus), initial_model(config)
    run = Run.open(path, config)
    # Signals are caught only while there is something to save. The wait for the tracker comes after: any signal ends it.
    with run.lock(), TrackerProcess(config.track, run, reporter.note) as tracker, listen() as request:
        if run.done:
            check_finished(run)
            reporter.note(f"another process has just finished it in {path}")
            return run
        try:
            begin(run, setting, reporter)
            for line in changed(run.path, config):
                reporter.note(line)
            tracker.start()
            trainer = trainer_of(config, run, setting, model, batches, reporter, request)
            fit_profiled(trainer, profile_steps) if profile_steps else trainer.fit()
            conclude(trainer, setting)
        except Stopped as stopped:
            run.stop(str(stopped), stopped.step)
            raise
        except LabError as error:
            run.fail(error)
            raise
        if request.signal_number is not None:
            # A signal came during the last step or the evaluation. This run is done, and what would follow it must not start.
            raise Stopped(request.signal_number, config.train.steps)
    return run


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


def open_setting(config: RunConfig) -> Setting:
    """Device and data of a config, once its tracker is known to be installed.

    Raises:
        LabError: one of them is not to be had.
    """
    check_installed(config.track)
    device = open_device(config.device, config.train)
    corpus = open_data(config)
    return Setting(device, corpus, hold_out(config, corpus))


def open_batches(config: RunConfig, corpus: Corpus) -> StepBatches:
    """The training batches of a config, cut into sequences as long as its method wants them."""
    whole = Batches(
        corpus.train,
        context=config.train.context,
        batch_size=config.train.batch_size,
        seed=config.data.seed,
        shuffled=config.data.order == "shuffled",
        remedy=more_tokens(config.data, "train"),
        before=config.train.sequences_before if config.train.batch_stages else None,
    )
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
) -> Trainer:
    """The trainer of a run's model, which also measures it on the way."""
    return Trainer(
        config=config,
        run=run,
        device=setting.device,
        model=model,
        batches=batches,
        evaluate=lambda: _validate(model, setting.held_out),
        reporter=reporter,
        request=request,
        scales=lambda: scales(model),
    )


def conclude(trainer: Trainer, setting: Setting) -> None:
    """The evaluation after the last step, and the word that the run is done."""
    config, run, model = trainer.config, trainer.run, trainer.model
    _evaluate_parts(config, run, model, setting.held_out)
    _evaluate_length(config, run, model, setting.held_out, trainer.reporter)
    windows = config.train.steps * config.train.batch_size
    warning = _warning(run, config)
    if warning:
        trainer.reporter.note(f"warning: {warning}")
    run.finish(
        "done",
        step=config.train.steps,
        params=model.num_params(),
        tokens=config.train.tokens,
        flops_per_token=trainer.token_flops,
        epochs=windows / trainer.batches.num_windows,
        **({"warning": warning} if warning else {}),
    )


def _warning(run: Run, config: RunConfig) -> str:
    """What a reader of the finished run must be told; empty where there is nothing."""
    val = [(e["step"], e["loss_nats"], e["stderr_nats"]) for e in run.read("evals") if e["eval"] == "val"]
    return nothing_learned(val, config.model.vocab_size)


def _validate(model: Decoder, held_out: HeldOut) -> dict[str, Any]:
    return validation_loss(
        model,
        held_out.inputs_NT,
        held_out.targets_NT,
        text_bytes=held_out.target_bytes,
        documents_NT=held_out.of_document_NT,
    )


def initial_model(config: RunConfig) -> Decoder:
    """The model of a config before its first step.

    Raises:
        ConfigError: its settings don't fit its method.
    """
    parts = methods.load(config.method, config.seams.lenders)
    if config.seams.lenders:
        check_together(parts, config)
    stored_dtype = torch.bfloat16 if config.train.weights_dtype == "bfloat16" else None
    return methods.build_model(
        parts,
        config.model,
        seed=config.seed,
        param=config.param,
        optim=config.optim,
        stored_dtype=stored_dtype,
    )


def check_together(parts: Parts, config: RunConfig) -> None:
    """Run a mixture of parts once, on sizes alone.

    Raises:
        ConfigError: parts of several methods don't fit each other.
    """
    try:
        with torch.device("meta"), torch.no_grad():
            Decoder(config.model, parts)(torch.zeros(1, 2, dtype=torch.long))
    except LabError:
        raise
    except Exception as error:  # whatever a part raises in company it was not written for is the answer here
        said = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{config.arm}: parts of these methods don't fit each other ({type(error).__name__}: {said}); lend other seams"
        ) from None


def _evaluate_parts(config: RunConfig, run: Run, model: Decoder, held_out: HeldOut) -> None:
    if any(record["eval"] == "parts" for record in run.read("evals")):
        return
    result = document_losses(model, held_out.inputs_NT, held_out.targets_NT, held_out.of_document_NT)
    run.append("evals", {"step": config.train.steps, **result})


def _evaluate_length(
    config: RunConfig, run: Run, model: Decoder, held_out: HeldOut, reporter: Reporter
) -> None:
    if any(record["eval"] == "length" for record in run.read("evals")):
        return
    if not len(held_out.documents_NT):
        reporter.note(
            f"no held-out document of {long_document_tokens(config)} tokens: the length evaluation is left out"
        )
        return
    result = length_loss(model, held_out.documents_NT, context=config.train.context)
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
