"""Budgets, and shares layer by layer, as they are named on the command line."""

from __future__ import annotations

import argparse
from functools import partial

LOWEST = -64  # of powers: what the allocation takes
Limit = tuple[str, str]
Share = tuple[str | None, float]


def add_budget_options(verb: argparse.ArgumentParser) -> None:
    add = partial(verb.add_argument, dest="limits", action="append", default=[])
    share_or_amount = "a share that remains, such as 0.5, or an amount; 0.75,0.5 for several sizes"
    add("--macs", type=partial(limited, "macs"), metavar="LIMIT", help=f"MACs: {share_or_amount}")
    add("--params", type=partial(limited, "params"), metavar="LIMIT", help=f"parameters: {share_or_amount}")
    add("--latency", type=partial(limited, "latency"), metavar="LIMIT", help="time here: a share, or such as 8ms")
    add(
        "--budget", type=named, metavar="NAME=LIMIT",
        help="any budget (repeatable); see infoprune list budgets",
    )  # fmt: skip
    verb.add_argument(
        "--rates", type=leaving, action="append", default=[], metavar="[LAYER=]SHARE",
        help="the share that leaves, in place of a budget; of some layers only as 'layer4.*=0.5' (repeatable)",
    )  # fmt: skip


def named(text: str) -> Limit:
    """The budget that NAME=LIMIT describes."""
    name, equals, limit = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not of the form NAME=LIMIT; write e.g. macs=0.5")
    return name, limit


def limited(name: str, limit: str) -> Limit:
    """The name with what limits it; the budget, which loads torch, reads that once the rest of the line is known."""
    return name, limit


def leaving(text: str) -> Share:
    """A share from 0 to below 1, of all layers or of those before the equals sign."""
    layer, share = _share(text)
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"{share:g} is not a share that can leave; give one from 0 to below 1")
    return layer, share


def staying(text: str) -> Share:
    """A share above 0 and at most 1, of all layers or of those before the equals sign."""
    layer, share = _share(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{share:g} is not a share that can stay; give one above 0 and at most 1")
    return layer, share


def _share(text: str) -> Share:
    layer, _, share = text.rpartition("=")
    try:
        return layer or None, float(share)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not a share such as 0.5 or 'layer4.*=0.5'") from None


def at_least_one(text: str) -> int:
    """A whole number from 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not a whole number of at least 1")
    return int(text)


def power(text: str) -> float:
    """A number from LOWEST to 0, or 1."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (LOWEST <= value <= 0 or value == 1):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not a power from {LOWEST} to 0, such as -1, or 1")
    return value
