"""How every benchmark keeps what it measured: one JSON object a line, flushed row by row, so that a killed run goes on.

    from results_file import ResultsFile, arguments, paired

    parser = arguments(__doc__)                                  # has --out and --smoke, and a --help that teaches
    options = parser.parse_args()
    results = ResultsFile.of(options, "criteria", key=("net", "budget", "criterion", "seed"))
    for seed in range(5):
        if not results.has(net="resnet20", budget=0.5, criterion="l1", seed=seed):
            results.append({"net": "resnet20", "budget": 0.5, "criterion": "l1", "seed": seed, "accuracy": 0.85})

Each row also says the command, the environment and the CPU seconds since the row before it. The newest row of a key
counts. `paired` compares two methods seed by seed; its verdict is the only source of the word "better" in RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import resource
import shlex
import sys
import tempfile
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.stats import norm, t

FOLDER = Path(__file__).parent / "results"
CONFIDENCE = 0.95
DRAWS = 20_000
FEWEST_TO_RESAMPLE = 5


def arguments(doc: str) -> argparse.ArgumentParser:
    """A parser whose help is the program's docstring, with the two options that all programs share."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSONL to append to (default: benchmarks/results/PROGRAM.jsonl)")
    parser.add_argument("--smoke", action="store_true", help="seconds instead of minutes, to see that it works")
    return parser


class ResultsFile:
    """Rows of one benchmark; the values of the fields in `key` name a row."""

    def __init__(self, path: Path, key: Sequence[str]):
        self.path, self.key = path, tuple(key)
        self._told = 0.0

    @classmethod
    def of(cls, options: argparse.Namespace, name: str, key: Sequence[str]) -> ResultsFile:
        """What the options of `arguments` ask for: a smoke run never writes among the measured results."""
        folder = Path(tempfile.mkdtemp(prefix="smoke-")) if options.smoke else FOLDER
        return cls(options.out or folder / f"{name}.jsonl", key)

    def rows(self) -> list[dict[str, Any]]:
        """The newest row of each key, in the order of first appearance."""
        return list({self._key_of(row): row for row in read(self.path)}.values())

    def has(self, **key: Any) -> bool:
        """Whether a row of this key is on file."""
        return self._key_of(key) in {self._key_of(row) for row in read(self.path)}

    def append(self, row: Mapping[str, Any]) -> None:
        """Write a row now, with command, environment, and (unless it says so) the CPU seconds since the last one."""
        missing = [name for name in self.key if name not in row]
        if missing:
            raise ValueError(f"a row of {self.path.name} lacks {missing}; its key is {self.key}")
        spent = cpu_seconds()
        full = {"cpu_s": round(spent - self._told, 2), **row, "command": command(), "environment": environment()}
        self._told = spent
        self.path.parent.mkdir(parents=True, exist_ok=True)
        drop_cut_line(self.path)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(full) + "\n")
        print({name: value for name, value in row.items() if len(str(value)) <= 200}, flush=True)

    def _key_of(self, row: Mapping[str, Any]) -> tuple[Hashable, ...]:
        return tuple(json.dumps(row.get(name)) for name in self.key)


def read(path: Path) -> list[dict[str, Any]]:
    """All rows of a file; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def drop_cut_line(path: Path) -> None:
    """A killed run may have left the beginning of a line; the next row must not be joined to it."""
    text = path.read_bytes() if path.exists() else b""
    if text and not text.endswith(b"\n"):
        path.write_bytes(text[: text.rfind(b"\n") + 1])


def command() -> str:
    """The command line of this process, as typed in the root of the repository; folders go by their last name."""
    words = sys.argv[1:]
    if "--out" in words:
        del words[words.index("--out") : words.index("--out") + 2]
    words = [Path(word).name if Path(word).is_absolute() else word for word in words]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def environment() -> dict[str, Any]:
    """What the figures depend on and that can be had again: versions, threads and processor, no date."""
    import torch

    versions = {name: version(name) for name in ("torch", "timm", "torch-pruning", "numpy")}
    return {**versions, "python": platform.python_version(), "threads": torch.get_num_threads(), "cpu": processor()}


def processor() -> str:
    """Its model's name as Linux tells it, family and model number added, since names are often generic."""
    told = dict.fromkeys(("model name", "cpu family", "model"), "?")
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        name, _, value = line.partition(":")
        if told.get(name.strip()) == "?":
            told[name.strip()] = value.strip()
    return f"{told['model name']}, family {told['cpu family']}, model {told['model']}"


# ---------------------------------------------------------------------------------------------- what may be claimed


@dataclass(frozen=True)
class Difference:
    """A mean over pairs with its interval; positive is good for the first."""

    mean: float
    low: float
    high: float
    pairs: int

    @property
    def verdict(self) -> Literal["better", "worse", "no difference shown"]:
        """Only an interval that excludes zero lets a side win."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "no difference shown"

    def __format__(self, spec: str) -> str:
        """`f"{d:.3f}"` is "+0.012 (+0.004 to +0.020)"; bold where the interval excludes zero."""
        spec = f"+{spec}"
        bold = "**" if self.verdict != "no difference shown" else ""
        return f"{bold}{self.mean:{spec}}{bold} ({self.low:{spec}} to {self.high:{spec}})"


def paired(
    ours: Mapping[Hashable, float], theirs: Mapping[Hashable, float], *, better: Literal["higher", "lower"] = "higher"
) -> Difference:
    """How much better the first is, over the seeds (or any keys) that both have."""
    common = sorted(ours.keys() & theirs.keys(), key=repr)
    if len(common) < 2:
        raise ValueError(f"only {len(common)} keys are common to both; an interval needs two pairs at least")
    sign = 1 if better == "higher" else -1
    gaps = np.array([sign * (ours[k] - theirs[k]) for k in common])
    return Difference(float(gaps.mean()), *interval(gaps), len(gaps))


def interval(values: Sequence[float] | np.ndarray, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Bootstrap interval of the mean: percentiles of the means of resamples, drawn with a fixed seed.

    Plain percentiles are too narrow for a handful of seeds (five cover a normal mean 84 % of the time), so that they
    are taken further out, by as much as Student's interval is wider than the normal one (Hesterberg 2015, "expanded
    percentile"). No resample leaves the range of the values, which holds the mean 94 % of the time with five values
    and 75 % with three: below five the interval is Student's.
    """
    values = np.asarray(values, float)
    if len(values) < 2:
        raise ValueError(f"an interval of {len(values)} values can't be had; measure two at least")
    if len(values) < FEWEST_TO_RESAMPLE:
        half = t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
        return float(values.mean() - half), float(values.mean() + half)
    drawn = np.random.default_rng(0).integers(len(values), size=(DRAWS, len(values)))
    tail = tail_of(len(values), confidence)
    low, high = np.quantile(values[drawn].mean(1), [tail, 1 - tail])
    return float(low), float(high)


def tail_of(n: int, confidence: float = CONFIDENCE) -> float:
    """The share of resampled means left out at each end."""
    return float(norm.cdf(-math.sqrt(n / (n - 1)) * t.ppf((1 + confidence) / 2, n - 1)))
