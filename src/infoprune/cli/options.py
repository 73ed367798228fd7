"""Options that several verbs share; loads nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

from infoprune.cli.inputs import FORM, described
from infoprune.cli.limits import add_budget_options, at_least_one, power, staying


def model_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("model", help="a name such as resnet50 or torchvision:resnet50, or your own as net.py:Net")
    verb.add_argument("--pretrained", action="store_true", help="fetch its published weights")
    verb.add_argument("--weights", type=Path, metavar="FILE", help="a checkpoint, as trainings write it")
    verb.add_argument("--num-classes", type=int, metavar="N", help="classes of its head")
    verb.add_argument(
        "--input", type=described, metavar="SHAPE", help=f"{FORM} (default: the data's, or what it was made for)"
    )


def data_option(verb: argparse.ArgumentParser, *, required: bool = False) -> None:
    verb.add_argument(
        "--data", required=required, metavar="NAME|PATH",
        help="a data set's name, a folder, tar shards or data set on disk, or your own as data.py:Mine",
    )  # fmt: skip
    changes(verb)


def own_model(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--model", metavar="FILE.py:NAME", help="what builds the dense network, where no registry does")
    verb.add_argument("--member", metavar="NAME", help="which network, where the artefact is a family of several sizes")


def importance_option(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--importance", metavar="NAME",
        help="see infoprune list importances; options as --set importance.sigma=0.8 (default: capacity_independence "
        "with sigma 0.5 and readers)",
    )  # fmt: skip
    verb.add_argument(
        "--ignore", action="append", default=[], metavar="LAYER",
        help="keep the outputs of these: a name or glob (repeatable)",
    )  # fmt: skip


def planning_options(verb: argparse.ArgumentParser) -> None:
    add_budget_options(verb)
    importance_option(verb)
    verb.add_argument(
        "--layer-importance", metavar="NAME", help="see infoprune list layerwise; most need --data (default: uniform)"
    )
    verb.add_argument("--round-to", type=at_least_one, default=1, metavar="N", help="keep channels in multiples of N")
    verb.add_argument(
        "--floor", type=staying, action="append", default=[], metavar="[LAYER=]SHARE",
        help="least share of units that stays (default 0.1); of some layers as 'layer4.*=0.5' (repeatable)",
    )  # fmt: skip
    verb.add_argument(
        "--utility", type=power, default=-1.0, metavar="P", help="P <= 0; lower is more even (default -1)"
    )
    verb.add_argument(
        "--tied", nargs="?", const=True, action="append", default=[], metavar="GLOB",
        help="one width in all blocks, or in the layers that GLOB means (repeatable): loads elsewhere by its config",
    )  # fmt: skip
    verb.add_argument("--solver", metavar="NAME", help="see infoprune list solvers")


def exported(text: str) -> Path:
    """The path of a file that an exporter writes."""
    if Path(text).suffix not in (".onnx", ".xml", ".pt2"):
        raise argparse.ArgumentTypeError(f"{text!r:.80} ends in none of .onnx, .xml and .pt2")
    return Path(text)


def levels(text: str) -> tuple[float, ...]:
    """Shares between 0 and 1, separated by commas."""
    try:
        shares = tuple(sorted(float(part) for part in text.split(",")))
    except ValueError:
        shares = ()
    if not shares or not all(0 < share < 1 for share in shares):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not a list of shares between 0 and 1, such as 0.2,0.4")
    return shares


def changes(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="change a key of the recipe (repeatable)",
    )
