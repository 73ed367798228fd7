"""How much of a run's CPU time is spent outside forward and backward passes; the quickstart by default.

    OMP_NUM_THREADS=1 python benchmarks/run_overhead.py [RECIPE] [--set SECTION.KEY=VALUE]

Times are the process's CPU time, all threads together. A pass is the outermost call of a network, or `backward`;
everything else is outside: importing, reading data, optimizer steps, planning, certificates, checkpoints, the report.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from results_file import ResultsFile, arguments

QUICKSTART = Path(__file__).parents[1] / "recipes" / "quickstart.yaml"
SMALL = ("model.train_epochs=1", "finetune.epochs=1", "report.baseline_epochs=0")


class Clock:
    """CPU seconds inside the outermost of the calls that it wraps, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.inside = False

    def timed(self, name: str, function: Callable) -> Callable:
        def call(*arguments: Any, **more: Any) -> Any:
            if self.inside:
                return function(*arguments, **more)
            self.inside, start = True, time.process_time()
            try:
                return function(*arguments, **more)
            finally:
                self.seconds[name] += time.process_time() - start
                self.inside = False

        return call


@contextmanager
def watched(clock: Clock) -> Iterator[None]:
    """Network calls, backward passes and optimizer steps are timed for as long as this lasts."""
    import torch

    places = [
        (torch.nn.Module, "__call__", "forward"),
        (torch.Tensor, "backward", "backward"),
        (torch.optim.SGD, "step", "optimizer"),
        (torch.optim.AdamW, "step", "optimizer"),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    try:
        for owner, name, told in places:
            setattr(owner, name, clock.timed(told, getattr(owner, name)))
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def measured(recipe: Path, changes: list[str], out: Path) -> dict[str, Any]:
    started = time.process_time()
    import torch

    from infoprune.recipe import read_recipe, run

    torch.set_num_threads(1)
    imported, clock, wall = time.process_time() - started, Clock(), time.perf_counter()
    begun = time.process_time()
    with watched(clock):
        report = run(read_recipe(recipe, changes), out)
    spent = time.process_time() - begun
    passes = clock.seconds["forward"] + clock.seconds["backward"]
    gap = (
        report.before.accuracy and report.after.accuracy and report.after.accuracy.value - report.before.accuracy.value
    )
    return {
        "recipe": recipe.stem,
        "wall_s": round(time.perf_counter() - wall, 1),
        "run_cpu_s": round(spent, 2),
        "passes_cpu_s": round(passes, 2),
        "optimizer_cpu_s": round(clock.seconds["optimizer"], 2),
        "outside": round(1 - passes / spent, 4),
        "import_cpu_s": round(imported, 2),
        "outside_with_imports": round(1 - passes / (spent + imported), 4),
        "macs_kept": round(report.after.macs / report.before.macs, 4),
        "accuracy_change": None if gap is None else round(gap, 4),
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("recipe", type=Path, nargs="?", default=QUICKSTART)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    options = parser.parse_args()
    changes = [*options.set, *(SMALL if options.smoke else ())]
    results = ResultsFile.of(options, "run_overhead", ("recipe",))
    with tempfile.TemporaryDirectory() as scratch:
        results.append(measured(options.recipe, changes, Path(scratch) / "run"))


if __name__ == "__main__":
    main()
