"""Is a pruned network faster in other runtimes too? Dense and pruned, timed in turn in each.

    python benchmarks/runtimes.py       # torch, ONNX Runtime, OpenVINO, torch.compile: five minutes of a core

Runs integrations/runtimes/compare.py, the script that people copy, for one runtime at a time, and keeps its rows.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from results_file import ResultsFile, arguments

SCRIPT = Path(__file__).parent.parent / "integrations" / "runtimes" / "compare.py"
RUNTIMES = ("torch", "onnxruntime", "openvino", "torch.compile")
MODELS = ("resnet18",)


def main() -> None:
    options = arguments(__doc__).parse_args()
    results = ResultsFile.of(options, "runtimes", key=("model", "runtime"))
    small = ("--size", "32", "--seconds", "0") if options.smoke else ()
    for model in MODELS:
        for runtime in RUNTIMES[:1] if options.smoke else RUNTIMES:
            if not results.has(model=model, runtime=runtime):
                results.append({"model": model, **told(model, runtime, *small)})


def told(model: str, runtime: str, *settings: str) -> dict[str, str]:
    """The last line of the table that the script prints, its first line beside it."""
    command = [sys.executable, "-W", "ignore", str(SCRIPT), "--model", model, "--runtimes", runtime, *settings]
    first, *_, last = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    name, dense, pruned, ratio, rounds, off = (cell.strip() for cell in last.strip("|").split("|"))
    return {"title": first, "runtime": name, "dense_ms": dense, "pruned_ms": pruned, "ratio": ratio, "rounds": rounds,
            "off": off}  # fmt: skip


if __name__ == "__main__":
    main()
