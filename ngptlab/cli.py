"""The command line: a verb, what it works on, and any field of the config as `--section.field value`.

Wrong use is one line on stderr and exit code 2; a run stopped by a signal exits with 128 + its number. Each verb imports
what it needs, so that help costs no torch.
"""

from __future__ import annotations

import argparse
import errno
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ngptlab import __version__, disk
from ngptlab.config import RunConfig, blank
from ngptlab.discover import modules
from ngptlab.errors import ConfigError, DivergedError, LabError
from ngptlab.method_files.copies import in_place_of
from ngptlab.method_files.running import blaming
from ngptlab.method_files.sources import forget
from ngptlab.options import completion, early, tuned
from ngptlab.options import ledger as ledger_option
from ngptlab.options import smoke as smoke_option
from ngptlab.options.field_help import FieldHelp, examples
from ngptlab.options.methods import in_fields
from ngptlab.options.parser import Parser, unrecognized
from ngptlab.options.runs import add_methods, add_seeds, add_workers, console_reporter
from ngptlab.options.stopping import until_stopped
from ngptlab.options.types import count
from ngptlab.output import discard, guarded
from ngptlab.overrides import split
from ngptlab.studies.target import options as target
from ngptlab.terminal import any_text, muted, one_line, remark, say, say_path
from ngptlab.threads import sleep_soon
from ngptlab.train.stop import Interrupted, interrupting
from ngptlab.verbs import (
    bench,
    claims,
    config,
    data,
    eval,
    export,
    importing,
    ledger,
    methods,
    new,
    plan,
    report,
    sample,
    submit,
    track,
    watch,
)
from ngptlab.world.last_word import last_word
from ngptlab.world.launched import check_alone, launched

if TYPE_CHECKING:
    from ngptlab.recipes import Recipe

WITH_FIELDS = ("train", "compare", "config", "plan")
"""Verbs that take a recipe and any field of its config, beside those of studies that say so."""
FIELDS_ALONE = ("try",)
"""Verbs that name their recipe by an option, and take any field of its config."""

PURPOSE = "Controlled language-model pretraining experiments."
TOGETHER = ("train", "-h", "--help", "--version")
"""What several processes may do together."""


@any_text()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns its exit code. Of several processes the first one speaks, and one says why they end."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    sleep_soon()
    with guarded(), interrupting():
        try:
            here = launched()
        except ConfigError as error:
            remark(f"ngptlab: {error}")
            return 2
        with muted(here.rank > 0):
            return _main(arguments, last_word(here))


def _main(arguments: Sequence[str], tell: Callable[[str], None]) -> int:
    try:
        code = run(arguments)
        sys.stdout.flush()
        return code
    except LabError as error:
        tell(one_line(f"ngptlab: {error}"))
        return 1 if isinstance(error, DivergedError) else 2
    except BrokenPipeError:
        # Nobody reads our output any more, as after `| head`.
        discard(sys.stdout)
        return 141
    except OSError as error:
        if error.filename is None and error.errno in (*disk.NO_ROOM, errno.EIO):
            # Files are written by disk.py, which names them.
            discard(sys.stdout)
            why = f"standard output can't be written ({error.strerror}); what was done is kept"
        else:
            # Disk full or no permission, in the middle of a run: what is saved stays, the same command goes on.
            why = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            why += "; mend that and give the same command again"
        tell(one_line(f"ngptlab: {why}"))
        return 2
    except MemoryError:
        tell("ngptlab: not enough memory; give a smaller model, batch or text, or a larger machine")
        return 2
    except KeyboardInterrupt as error:
        number = error.signal_number if isinstance(error, Interrupted) else signal.SIGINT
        name = signal.Signals(number).name
        tell(f"ngptlab: stopped by {name}; what is finished stays, and the same command does the rest")
        return 128 + number


def run(arguments: Sequence[str]) -> int:
    """Parse and do.

    Raises:
        LabError: the user can mend it.
    """
    parsed = parse(arguments)
    action: Callable[[argparse.Namespace], int] = parsed.action
    if parsed.fields and sys.stderr.isatty():
        remark(f"{arguments[0]}: starting", flush=True)  # torch takes seconds
    with blaming():
        return action(parsed)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What a command line asks for. Fields of the config are taken out first, against the recipe that they change.

    Raises:
        LabError: the user can mend it.
    """
    verb = arguments[0] if arguments else "--help"
    if verb not in TOGETHER:
        check_alone(verb)
    named = [study.NAME for study in studies().values() if study.TAKES_RECIPE]
    fields = verb in (*WITH_FIELDS, *FIELDS_ALONE, *named)
    forget()
    top = parser()
    own = top.options_of(verb)
    if verb == submit.NAME:
        arguments = submit.in_order(arguments, own)
    overrides, rest = split(arguments, blank(), own) if fields else ({}, list(arguments))
    top.tell(verb, overrides)
    parsed, unknown = top.parse_known_args(rest or ["--help"])
    if unknown:  # the verb's help says what is allowed, which argparse would not name
        Parser(prog=f"ngptlab {verb}").error(unrecognized(unknown, own, fields=fields))
    parsed.overrides = in_fields(overrides)
    early.check(parsed, whole=verb in WITH_FIELDS)
    parsed.fields = fields
    return parsed


class Study(Protocol):
    """A study's `verb.py`."""

    NAME: str
    SUMMARY: str
    TAKES_RECIPE: bool
    """Whether it takes a recipe and any field of its config."""

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Give the verb's parser its options."""

    def act(self, options: argparse.Namespace) -> int:
        """Do it; returns the exit code."""


def studies() -> dict[str, Study]:
    """Every study that has a verb, by its folder."""
    return dict(modules("ngptlab.studies", "verb"))


def parser() -> Parser:
    """The verbs and their own options."""
    top = Parser(prog="ngptlab", description=PURPOSE, allow_abbrev=False)
    top.add_argument("--version", action="version", version=__version__)
    shown = examples()
    verbs = top.add_subparsers(title="verbs", required=True, metavar="VERB", parser_class=Parser)

    def verb(
        name: str, action: Callable[[argparse.Namespace], int], summary: str, *, fields: bool = False
    ) -> Parser:
        fields = fields or name in WITH_FIELDS
        made: Parser = verbs.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=f"example: ngptlab {shown[name]}" if name in shown else None,
            allow_abbrev=False,
            add_help=not fields,
        )
        if fields:
            made.add_argument("-h", "--help", action=FieldHelp, nargs=0, help="show this page")
            made.add_argument(
                "recipe", help="a recipe's name (see `ngptlab recipes`) or a .json or .yaml config"
            )
        made.set_defaults(action=action)
        return made

    _add_train(verb("train", _train, "Train one run of a recipe, or go on with it."))
    _add_compare(
        verb("compare", _compare, "Train every method of a recipe that is missing, and write the page.")
    )
    config.add(
        verb("config", config.act, "Print the config of a run, whole, and what differs from the recipe.")
    )
    for study in studies().values():
        study.add(verb(study.NAME, study.act, study.SUMMARY, fields=study.TAKES_RECIPE))
    ledger.add(verb("ledger", ledger.act, "List, check, export and restore the finished runs of a ledger."))
    track.add(
        verb("track", track.act, "Hand what runs recorded to an experiment tracker, where it lacks it.")
    )
    submit.add(verb(submit.NAME, lambda options: submit.act(options, parse), submit.SUMMARY))
    watch.add(verb("watch", watch.act, "Show runs in progress, live: loss, pace, time left, state."))
    report.add(verb("report", report.act, "Write the page of finished runs and studies."))
    eval.add(verb("eval", eval.act, "Measure the models of finished runs."))
    sample.add(verb("sample", sample.act, "Let a trained model go on from a text."))
    export.add(
        verb("export", export.act, "Write a trained model for transformers, and on the hub where asked for.")
    )
    importing.add(verb("import", importing.act, "Make a run of an exported model or a public checkpoint."))
    bench.add(verb("bench", bench.act, "Measure what a training step costs."))
    claims.add(verb("claims", claims.act, "Hold what others claimed against recorded runs."))
    methods.add(verb("methods", methods.act, "List the methods, or show how two differ."))
    new.add(verb("new", new.act, "Write the file of a new method, which starts from another one."))
    verb("recipes", _recipes, "List the recipes.")
    plan.add(verb("plan", plan.act, plan.SUMMARY))
    shells = verb("completion", _completion, "Print what makes the Tab key offer verbs, options and fields.")
    shells.add_argument("shell", choices=completion.SHELLS, help="the shell that is to read it at its start")
    data.add_verbs(verb("data", _no_action, "Look after corpora: see `ngptlab data --help`."))
    return top


def _add_train(train: Parser) -> None:
    train.add_argument(
        "--out", type=Path, help="run directory (default: runs/<recipe>-<method>-s<seed>-<hash>)"
    )
    train.add_argument(
        "--profile",
        nargs="?",
        type=count,
        const=5,
        default=0,
        metavar="N",
        help="profile N steps (default: 5) into <run>/profile: a trace and a table of what took longest",
    )
    smoke_option.add(train)


def _add_compare(compare: Parser) -> None:
    add_methods(compare)
    add_seeds(compare, "method")
    compare.add_argument(
        "--out", type=Path, help="folder of the runs and of report.html (default: out/<recipe>)"
    )
    tuned.add(compare)
    ledger_option.add(compare)
    add_workers(compare, "1 with a GPU and where runs take some seconds; as many as memory holds")
    smoke_option.add(compare)
    target.add(compare)


def _train(options: argparse.Namespace) -> int:
    from ngptlab.methods import resolve
    from ngptlab.overrides import apply
    from ngptlab.recipes import recipe

    found = smoke_option.apply(recipe(options.recipe), options)
    method = options.overrides.get("method", found.methods[0])
    config = resolve(apply(found.arm(method), options.overrides))
    if options.out:
        config, edited = in_place_of(config, options.out)
        for line in edited:
            remark(line)
    return until_stopped(lambda: _train_one(config, options))


def _train_one(config: RunConfig, options: argparse.Namespace) -> None:
    from ngptlab.experiment import train

    with console_reporter(config) as tell:
        run = train(config, options.out, reporter=tell, profile_steps=options.profile)
    say_path(run.path)
    smoke_option.conclude(options)


def _compare(options: argparse.Namespace) -> int:
    from ngptlab.compare import compare
    from ngptlab.recipes import recipe

    found = smoke_option.apply(tuned.apply(recipe(options.recipe), options), options)
    target.check(options)
    out = options.out or Path("out") / found.config.name
    if options.target is not None:
        return until_stopped(lambda: _reach(found, options, out))

    def work() -> None:
        tuned.keep(options, out)
        page = compare(
            found,
            out=out,
            methods=options.methods,
            seeds=options.seeds,
            ledger=ledger_option.ledger_of(options),
            overrides=options.overrides,
            workers=options.workers,
            reporter=console_reporter,
            sampler=sample.for_page,
            tell=remark,
        )
        report.print_headline(page)
        smoke_option.conclude(options)

    return until_stopped(work)


def _reach(found: Recipe, options: argparse.Namespace, out: Path) -> None:
    """A comparison against a target loss, and its page."""
    from ngptlab.report.page import write_report

    runs, study = target.act(found, options, out)
    report.print_headline(
        write_report(runs, out, title=found.config.name, studies=[study], sampler=sample.for_page)
    )


def _recipes(options: argparse.Namespace) -> int:
    from ngptlab import recipes

    methods.print_claims(recipes.names(), recipes.claim)
    return 0


def _completion(options: argparse.Namespace) -> int:
    named = [study.NAME for study in studies().values() if study.TAKES_RECIPE]
    say(completion.script(options.shell, parser(), (*WITH_FIELDS, *FIELDS_ALONE, *named)), end="")
    return 0


def _no_action(options: argparse.Namespace) -> int:
    raise AssertionError("its verbs have actions of their own")
