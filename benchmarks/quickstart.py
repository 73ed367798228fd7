"""How long the first command of the README takes, from pressing Enter to its report, on this machine.

    python benchmarks/quickstart.py [--threads 2] [--set SECTION.KEY=VALUE]     # a minute

The command runs in a process of its own, with as many threads as it is told. A row holds the wall and CPU seconds, the
seconds of each phase, and what they depend on: processor, instruction set, threads, and the load before it began.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from results_file import ResultsFile, arguments

ROOT = Path(__file__).parents[1]
SMALL = ("model.train_epochs=1", "finetune.epochs=1", "report.baseline_epochs=0")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, default=2, help="threads of the command (default 2)")
    parser.add_argument("--set", action="append", default=[], help="change a key of the recipe, as the command does")
    options = parser.parse_args()
    results = ResultsFile.of(options, "quickstart", ("threads", "instruction_set", "changes"))
    results.append(measured(options.threads, [*options.set, *(SMALL if options.smoke else ())]))


def measured(threads: int, changes: list[str]) -> dict[str, Any]:
    """One run of the command in a directory of its own."""
    import torch

    load, before = os.getloadavg()[0], resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        out, sets = Path(folder) / "run", [word for change in changes for word in ("--set", change)]
        command = ["-m", "infoprune", "run", str(ROOT / "recipes" / "quickstart.yaml"), *sets, "--out", str(out)]
        started = time.perf_counter()
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        subprocess.run([sys.executable, *command], env=environment, check=True, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - started
        report = json.loads((out / "report.json").read_text())
        phases = phase_seconds(out / "metrics.jsonl")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "threads": threads,
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "changes": changes,
        "wall_s": round(wall, 1),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "training_s": phases,
        "load_before": round(load, 2),
        "macs_kept": report["after"]["macs"] / report["before"]["macs"],
        "accuracy": [report[side]["accuracy"]["value"] for side in ("before", "after")],
    }


def phase_seconds(metrics: Path) -> dict[str, float]:
    """What each training took, as its last line of metrics says."""
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    return {row["phase"]: round(row["seconds"], 1) for row in rows if "seconds" in row}


if __name__ == "__main__":
    main()
