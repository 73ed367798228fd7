"""Prune networks of other packages to half their MACs, check what is promised, and write the table.

    python benchmarks/third_party_zoo.py                # all that are not done, one process a model, resumable
    python benchmarks/third_party_zoo.py llama smp_unet # these again
    python benchmarks/third_party_zoo.py --again WRONG CRASH    # those that ended so, again
    python benchmarks/third_party_zoo.py --stock        # then stock torch-pruning beside those that are done
    python benchmarks/third_party_zoo.py --table        # only write docs/coverage.md from the results

The models are listed in benchmarks/third_party/ (`pip install -e .[zoo]`). A model ends as "pruned" (prices counted
before and after are those planned, the certificate has a number, an independent mask check agrees in double precision
on two batch sizes, save and load are bitwise equal, `generate` gives the same logits with and without a cache,
gradients are finite), as "refused" (a typed error, with the share of the MACs that could have been reached), as
"uncompared" (the certificate says that it has no number), or as WRONG (a promise was broken) or CRASH (an error of no
declared type), which are defects.
"""

from __future__ import annotations

import json
import os
import resource
import select
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from results_file import FOLDER, ResultsFile, arguments
from third_party import entries
from third_party.entry import Entry

CPU_LIMIT_S, WALL_LIMIT_S = 240, 900
STOCK_LIMIT_S = 60  # of those that end none took more than 3 s; the others go on until memory is full
MEMORY_LIMIT = 12 << 30
SMOKE = "hand_residual"
PRELOADED = ("transformers.models.bert.modeling_bert", "transformers.generation.utils", "torchvision", "diffusers")


def alone(work: Callable[[], dict[str, Any]], limit_s: int = CPU_LIMIT_S) -> dict[str, Any]:
    """What `work` gives in a forked process that may die, use up its time or memory, or leave anything behind."""
    reading, writing = os.pipe()
    started, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(work, limit_s, writing)
    os.close(writing)
    text = b""
    while (left := WALL_LIMIT_S - (time.monotonic() - started)) > 0 and select.select([reading], [], [], left)[0]:
        if not (piece := os.read(reading, 1 << 16)):
            break
        text += piece
    else:
        os.kill(child, 9)
    os.close(reading)
    status = os.waitpid(child, 0)[1]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = round(after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime, 2)
    if text:
        return {"cpu_s": cpu_s, **json.loads(text)}
    end = f"no end within {limit_s} s of CPU" if cpu_s > 0.9 * limit_s else f"the process died ({status})"
    return {"cpu_s": cpu_s, "outcome": "CRASH", "reason": end}


def _work(work: Callable[[], dict[str, Any]], limit_s: int, writing: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    warnings.simplefilter("ignore")
    try:
        row = work()
    except BaseException as error:
        row = {"outcome": "CRASH", "reason": f"{type(error).__name__}: {str(error)[:300]}"}
    os.write(writing, json.dumps(row).encode())
    os._exit(0)


def ours(entry: Entry) -> dict[str, Any]:
    """The row of one model."""
    from third_party import checking

    return {"model": entry.name, "package": entry.package, "kind": entry.kind, **alone(lambda: checking.row(entry))}


def stock(entry: Entry) -> dict[str, Any]:
    """What torch-pruning does with the model, as it comes and with numbers of heads."""
    from third_party import host

    return {
        "host": alone(lambda: host.row(entry, heads=False), STOCK_LIMIT_S),
        "host_heads": alone(lambda: host.row(entry, heads=True), STOCK_LIMIT_S),
    }


def installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def preload() -> None:
    """Import what most children need; they are forked and need not do it again."""
    import importlib

    import torch

    torch.set_num_threads(1)
    for name in PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"{name} is not there ({error}); its models will be missing", file=sys.stderr)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("names", nargs="*", help="models to do again; without any, all that are not done")
    parser.add_argument("--again", nargs="*", default=[], metavar="OUTCOME", help="also those that ended so")
    parser.add_argument("--stock", action="store_true", help="torch-pruning's part of the rows that lack it")
    parser.add_argument("--table", action="store_true", help="only write docs/coverage.md from the results")
    options = parser.parse_args()
    known = entries()
    results = ResultsFile.of(options, "third_party_zoo", ("model",))
    wanted = [] if options.table else [SMOKE] if options.smoke else list(known)
    before = {row["model"]: row for row in results.rows()}
    again = {name for name, row in before.items() if row["outcome"] in options.again}
    lacking = [name for name in known if name in before and "host" not in before[name]]
    undone = [name for name in wanted if name not in before or name in again]
    todo = options.names or (lacking if options.stock else undone)
    for package in sorted({known[name].package for name in todo} - {"by hand"}):
        if not installed(package):
            print(f"{package} is not installed; its models are left out", file=sys.stderr)
            todo = [name for name in todo if known[name].package != package]
    if todo:
        warnings.simplefilter("ignore")
        preload()
    for number, name in enumerate(todo, 1):
        print(f"{number} of {len(todo)}:", end=" ", flush=True)
        old = next((row for row in results.rows() if row["model"] == name), {})
        kept = {k: v for k, v in old.items() if options.stock or k.startswith("host")}
        results.append({**kept, **(stock(known[name]) if options.stock else ours(known[name]))})
    if not options.smoke and options.out is None:
        from zoo_coverage import write_table

        write_table(ResultsFile(FOLDER / "zoo_coverage.jsonl", ("model",)).rows())


if __name__ == "__main__":
    main()
