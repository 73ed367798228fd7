"""Budgets as they are named on the command line."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from infoprune.errors import UnknownName

if TYPE_CHECKING:
    from infoprune.budgets import Budget


def add_budget_options(verb: argparse.ArgumentParser) -> None:
    add = partial(verb.add_argument, dest="budgets", action="append", default=[])
    share_or_amount = "a share that remains, such as 0.5, or an amount"
    add("--macs", type=partial(limited, "macs"), metavar="LIMIT", help=f"MACs: {share_or_amount}")
    add("--params", type=partial(limited, "params"), metavar="LIMIT", help=f"parameters: {share_or_amount}")
    add(
        "--budget", type=named, metavar="NAME=LIMIT",
        help="any budget, such as latency=8ms (repeatable); see infoprune list budgets",
    )  # fmt: skip


def named(text: str) -> Budget:
    """The budget that NAME=LIMIT describes."""
    name, equals, told = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not of the form NAME=LIMIT; write e.g. macs=0.5")
    return limited(name, told)


def limited(name: str, told: str) -> Budget:
    from infoprune.budgets import budgets  # it loads torch, which help does without

    try:
        return budgets[name].parse(told)
    except (UnknownName, ValueError) as error:
        known = isinstance(error, UnknownName)
        raise argparse.ArgumentTypeError(str(error) if known else f"{name} is {error}") from error
