"""What `import infoprune` costs beside torch, timm and torch_pruning, in CPU seconds (user and system).

    OMP_NUM_THREADS=1 python benchmarks/import_time.py [--rounds 5] [--out DIR] [--smoke]

Each round is a fresh process that imports the three, then infoprune, and then uses every public name once, which loads
what a script would load that uses all of the library; it reads its own clock after each step.
"""

from __future__ import annotations

import json
import subprocess
import sys

from results_file import ResultsFile, arguments

STEPS = {
    "hosts": "import torch, timm, torch_pruning",
    "infoprune": "import infoprune",
    "names": "[getattr(infoprune, name) for name in dir(infoprune)]",
}
CLOCK = "r = resource.getrusage(resource.RUSAGE_SELF); times.append(r.ru_utime + r.ru_stime)"


def seconds() -> dict[str, float]:
    """CPU seconds of each step in one process."""
    lines = ["import json, resource; times = []", CLOCK, *(f"{step}\n{CLOCK}" for step in STEPS.values())]
    script = "\n".join([*lines, "print(json.dumps(times))"])
    command = [sys.executable, "-W", "ignore", "-c", script]
    times = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {name: after - before for name, before, after in zip(STEPS, times, times[1:], strict=False)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    results = ResultsFile.of(options, "import_time", key=("round",))
    for number in range(1 if options.smoke else options.rounds):
        if not results.has(round=number):
            results.append({"round": number, "cpu_seconds": {n: round(s, 4) for n, s in seconds().items()}})


if __name__ == "__main__":
    main()
