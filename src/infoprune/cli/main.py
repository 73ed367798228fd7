"""Arguments in, exit code out: 0 done, 1 error, 2 usage, 3 a budget can't be met, 4 done but not compared."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from infoprune.cli.default_paths import check_out
from infoprune.cli.listing import LISTS
from infoprune.cli.options import (
    changes,
    data_option,
    exported,
    importance_option,
    levels,
    model_options,
    own_model,
    planning_options,
)
from infoprune.cli.output import NotWritten, Result, in_words_of_the_command
from infoprune.errors import BadOwnCode, BadRecipe, Infeasible, InfopruneError, UnknownName

RUN_EXAMPLE = "example: infoprune run recipes/quickstart.yaml --set seed=1 --out runs/quickstart"
FINETUNE_EXAMPLE = "example: infoprune finetune runs/r20/artefact --data cifar10 --set data.root=/data --out r20"
OBSERVE_EXAMPLE = (
    "example: infoprune observe resnet20_cifar --data digits --set data.calibration=256 --out seen.safetensors"
)
COMPLETION_EXAMPLE = "example: infoprune completion > ~/.local/share/bash-completion/completions/infoprune"
REPORT_EXAMPLE = "example: infoprune report runs/quickstart"
BENCH_EXAMPLE = """\
example: infoprune bench runs/l2 runs/capacity --out comparison.html
several values of a key, one run each: infoprune bench recipes/digits-vgg16-ablations.yaml"""
EXPORT_EXAMPLE = """\
example: infoprune export runs/quickstart quickstart.onnx
in 8 bits: infoprune export runs/quickstart quickstart-int8.onnx --int8 --data digits"""
PLAN_EXAMPLE = "example: infoprune plan resnet50 --macs 0.5 --round-to 8"
SENSITIVITY_EXAMPLE = """\
Measured is how far the outputs are from the dense network's on calibration pictures: the KL divergence of class
probabilities in nats, or of other outputs the squared error over their variance. It is not the loss, since it needs
no labels, is 0 for the whole network and never negative, and is what plans with --layer-importance curves reuse.

example: infoprune sensitivity resnet20_cifar --weights r20.pth --data digits --out sensitivity"""
PRUNE_EXAMPLE = """example: infoprune prune resnet18 --macs 0.5 --out runs/r18
with pictures: infoprune prune resnet18 --pretrained --macs 0.7 --data imagenet --compensate --out runs/r18"""
COMPENSATE_EXAMPLE = """\
The network must still have the weights that surgery left it, and --dense those that it had before. Readers
whose error on held-out pictures does not fall keep their weights. --set compensate.samples=256 takes fewer
pictures (512). The new artefact tells what was refitted; infoprune show prints it.

example: infoprune compensate runs/r18 --pretrained --data imagenet --out runs/r18-compensated"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    parsed = parser.parse_args(arguments)
    speak = str if parsed.verb == "run" else in_words_of_the_command  # a recipe has the library's words
    try:
        check_out(parsed)
        with _terminated_as_interrupted(), _foreign_output_on_stderr():
            result = _loaded(parsed.run)(parsed)
    except Infeasible as error:
        return _failed(f"budget not met: {error}", 3)
    except (BadRecipe, BadOwnCode, UnknownName) as error:
        return _failed(f"error: {speak(str(error))}", 2)
    except NotWritten as error:
        sys.stdout.write(error.result.text + "\n")
        return _failed(f"error: {error}", 1)
    except (InfopruneError, ValueError, OSError) as error:
        return _failed(f"error: {speak(str(error))}", 1)
    except KeyboardInterrupt:
        return _failed("interrupted; what was finished is kept, and the same command goes on from there", 1)
    text = json.dumps(result.data, indent=1) if getattr(parsed, "json", False) else result.text
    sys.stdout.write(text + "\n")
    return result.code


def _loaded(command: str) -> Callable[[argparse.Namespace], Result]:
    """A verb's function; its module is imported once the verb is wanted, so that help comes at once."""
    module, _, name = command.partition(".")
    return getattr(import_module(f"infoprune.cli.{module}"), name)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, which schedulers send, ends the work as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # signals belong to the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _foreign_output_on_stderr() -> Iterator[None]:
    """Solvers written in C print what they like to descriptor 1; there belongs the result alone."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _failed(message: str, code: int) -> int:
    sys.stderr.write(f"infoprune: {message}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="infoprune", description="Prune a model so that its numbers hold.", epilog=PRUNE_EXAMPLE
    )
    parser.add_argument("--version", action="version", version=f"infoprune {version('infoprune')}")
    verbs = parser.add_subparsers(title="commands", metavar="command", required=True)

    _running_verbs(parser, verbs)
    _result_verbs(verbs)

    plan = _verb(verbs, "plan", "say what would go and what that saves; touches nothing", PLAN_EXAMPLE)
    model_options(plan)
    planning_options(plan)
    data_option(plan)
    plan.add_argument("--out", type=Path, metavar="FILE", help="also write the plan as JSON")
    plan.set_defaults(run="commands.plan_command", writes="file")

    prune = _verb(verbs, "prune", "prune a model and write it as an artefact", PRUNE_EXAMPLE)
    model_options(prune)
    planning_options(prune)
    data_option(prune)
    prune.add_argument(
        "--compensate", action="store_true",
        help="then refit what reads removed units on pictures of --data, without labels or training",
    )  # fmt: skip
    prune.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory for the artefact")
    prune.set_defaults(run="commands.prune_command", writes="directory")

    sense = _verb(verbs, "sensitivity", "measure how far the output moves as single layers shrink", SENSITIVITY_EXAMPLE)
    model_options(sense)
    importance_option(sense)
    data_option(sense, required=True)
    sense.add_argument(
        "--levels", type=levels, default=(0.2, 0.4, 0.6, 0.8), metavar="A,B", help="shares kept (default 0.2 to 0.8)"
    )  # fmt: skip
    sense.add_argument("--out", type=Path, metavar="DIR", help="directory for the page and the JSON file")
    sense.set_defaults(run="sensing.sensitivity_command", writes="directory")

    show = _verb(verbs, "show", "an artefact or a plan as a table", "example: infoprune show runs/r18")
    show.add_argument("path", type=Path, help="directory of an artefact or a run, or a plan's JSON file")
    show.set_defaults(run="commands.show_command")

    doctor = _verb(verbs, "doctor", "versions, and combinations known to break", "example: infoprune doctor")
    doctor.set_defaults(run="commands.doctor_command")

    listing = _verb(verbs, "list", "what can be named in commands", "example: infoprune list importances")
    listing.add_argument("what", choices=LISTS, help="what to list")
    listing.set_defaults(run="listing.list_command")
    return parser


def _running_verbs(parser: argparse.ArgumentParser, verbs: argparse._SubParsersAction) -> None:
    run = _verb(
        verbs, "run", "carry out a recipe: train, prune, fine-tune, report; goes on where it stopped", RUN_EXAMPLE
    )
    run.add_argument("recipe", type=Path, help="a YAML file such as those in recipes/")
    changes(run)
    run.add_argument("--out", type=Path, metavar="DIR", help="directory of the run (default: runs/<recipe>)")
    run.add_argument("--dry-run", action="store_true", help="price the recipe; reads no data and writes nothing")
    run.set_defaults(run="running.run_command", writes="directory")

    tune = _verb(verbs, "finetune", "train an artefact further; goes on where it stopped", FINETUNE_EXAMPLE)
    tune.add_argument("artefact", type=Path, help="directory that infoprune.save or a run wrote")
    own_model(tune)
    tune.add_argument("--dense", type=Path, metavar="FILE", help="the dense model's weights, to learn from its answers")
    data_option(tune, required=True)
    tune.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory for the new artefact")
    tune.set_defaults(run="running.finetune_command", writes="directory")

    refit = _verb(
        verbs,
        "compensate",
        "let what stays in an artefact say what left, from pictures without labels",
        COMPENSATE_EXAMPLE,
    )
    refit.add_argument("artefact", type=Path, help="directory that infoprune prune or infoprune.save wrote")
    own_model(refit)
    weights = refit.add_mutually_exclusive_group(required=True)
    weights.add_argument("--dense", type=Path, metavar="FILE", help="the weights that the network was pruned with")
    weights.add_argument("--pretrained", action="store_true", help="those were the published ones; fetch them")
    data_option(refit, required=True)
    refit.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory for the new artefact")
    refit.set_defaults(run="compensating.compensate_command", writes="directory")

    observe = _verb(verbs, "observe", "see once what every layer does with data, and keep it", OBSERVE_EXAMPLE)
    model_options(observe)
    data_option(observe, required=True)
    observe.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="safetensors file for the observations"
    )
    observe.set_defaults(run="running.observe_command", writes="file")

    shell = _verb(verbs, "completion", "a script that lets bash and zsh complete commands", COMPLETION_EXAMPLE)
    shell.set_defaults(run="completion.completion_command", parser=parser)


def _result_verbs(verbs: argparse._SubParsersAction) -> None:
    report = _verb(verbs, "report", "a finished run in short, and its page drawn again", REPORT_EXAMPLE)
    report.add_argument("run_directory", type=Path, metavar="run", help="directory of a finished run")
    report.add_argument(
        "--out", type=Path, metavar="FILE", help="where the page goes (default: report.html in the run)"
    )
    report.set_defaults(run="results.report_command", writes="file")

    bench = _verb(verbs, "bench", "runs side by side, on one page", BENCH_EXAMPLE)
    bench.add_argument(
        "runs", type=Path, nargs="+", metavar="run", help="directories of finished runs, or a recipe with vary:"
    )
    changes(bench)
    bench.add_argument("--out", type=Path, default=Path("comparison.html"), metavar="FILE", help="where the page goes")
    bench.set_defaults(run="results.bench_command", writes="file")

    export = _verb(verbs, "export", "an artefact as a file for a runtime, compared first", EXPORT_EXAMPLE)
    export.add_argument("artefact", type=Path, help="directory that infoprune.save or a run wrote")
    export.add_argument("out", type=exported, help="file to write: .onnx, .xml for OpenVINO, or .pt2 for torch.export")
    export.add_argument("--opset", type=int, metavar="N", help="ONNX operator set (default: the exporter's)")
    export.add_argument(
        "--int8", action="store_true", help="quantised, with ranges from the pictures of --data; .onnx and .xml"
    )
    own_model(export)
    data_option(export)
    export.set_defaults(run="results.export_command", writes="file")


def _verb(verbs: argparse._SubParsersAction, name: str, does: str, example: str) -> argparse.ArgumentParser:
    description = does[0].upper() + does[1:] + "."
    kept = argparse.RawDescriptionHelpFormatter  # the lines of an example
    verb = verbs.add_parser(name, help=does, description=description, epilog=example, formatter_class=kept)
    verb.add_argument("--json", action="store_true", help="print JSON instead of a table")
    verb.set_defaults(verb=name, writes="")
    return verb
