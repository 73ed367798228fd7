"""Pruned, in 8 bits, or both: bytes, answers and time of one network in four forms.

    python benchmarks/int8.py --data DATA [--cases ...] [--runtimes onnxruntime openvino] [--draws 0 1 2]
    python benchmarks/int8.py --smoke

DATA holds wheels/ and unpacked/ as for compensation.py. Pruned networks are compensated, and those of digits are tuned
for as many pictures as in the contest, before anything is quantised. A draw is one of calibration and tuning pictures,
from which ranges are taken too; what is judged never changes. The case "nothing" cuts nothing: its weights must be
those of the dense network afterwards, and its 8-bit file must give the answers of the dense one's. The four take turns
when they are timed, in CPU time, one picture at once.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from interleave import interleaved
from results_file import ResultsFile, arguments
from task_digits import NETS, Contest, accuracy, train
from torch import Tensor, nn

import infoprune as ip
from compensation import DigitsOnPhotos, Stamps, Subject, agreement
from infoprune.export import Running
from infoprune.export.formats import FORMATS
from infoprune.export.int8 import processor
from infoprune.surgery import Plan

SUFFIX = {"onnxruntime": ".onnx", "openvino": ".xml"}
SAMPLES, ROUNDS = 512, 60


@dataclass(frozen=True)
class Case:
    """A network, the share of its MACs that stays (None: all), and on how many pictures it is tuned."""

    net: str
    keep: float | None
    tuned: int = 0


CASES = {
    "resnet20, 25 %": Case("resnet20", 0.25, 12_800),
    "resnet20, nothing": Case("resnet20", None),
    "mobilenetv2, 75 %": Case("mobilenetv2", 0.75),
    "mobilenetv2, nothing": Case("mobilenetv2", None),
}


def subject(net: str, options: argparse.Namespace) -> Subject:
    return DigitsOnPhotos(net, options) if net in NETS else Stamps(net, options)


def cut(case: Case, us: Subject, draw: int) -> nn.Module:
    """The network pruned, compensated and tuned."""
    loader, model = us.loader(draw), copy.deepcopy(us.model)
    plan = Plan()
    if case.keep is not None:
        seen = ip.observe(us.model, loader, moments=True, progress=False)
        importance = ip.importance.ConditionalImportance(seen)
        plan = ip.plan(us.model, us.example, importance, budgets=[ip.budgets.macs(keep=case.keep)], round_to=8)
    ip.prune_(model, us.example, plan, certify=False)
    ip.compensate_(model, us.model, loader, samples=us.samples, progress=False, plan=plan)
    if case.tuned:
        torch.manual_seed(draw)
        contest = Contest(draw, images=case.tuned)
        train(model, contest.tuning, len(contest.tuning), rate=contest.rate, teacher=us.model)
    return model.to(memory_format=torch.contiguous_format).eval()


def judged(us: Subject, model: nn.Module) -> dict[str, Any]:
    """Top-1, and how far the answers are the dense network's."""
    if isinstance(us, Stamps):
        told = us.judged(model)
        return {"top1": told["top1"], **told["alike"]}
    assert isinstance(us, DigitsOnPhotos)
    return {"top1": accuracy(model, *us.test), **agreement(answers(us.model, us.test[0]), answers(model, us.test[0]))}


@torch.no_grad()
def answers(model: nn.Module, pictures: Tensor) -> Tensor:
    return torch.cat([model(x) for x in pictures.split(250)])


def measured(case: Case, us: Subject, draw: int, runtime: str) -> dict[str, Any]:
    """Four files: how large, how they answer, and how long they take in turn."""
    networks = {"dense": us.model, "pruned": cut(case, us, draw)}
    shares = {name: ip.measure(model, us.example).macs for name, model in networks.items()}
    forms, running = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, model in networks.items():
            for form, loader in (("float32", None), ("int8", us.loader(draw))):
                path = Path(folder, f"{name}-{form}{SUFFIX[runtime]}")
                told = ip.export(model, us.example, path, int8=loader)
                key = f"{name} {form}"
                running[key] = Running(FORMATS[path.suffix].run(path))
                files = [file for file in Path(folder).iterdir() if file.stem == path.stem]
                forms[key] = {"bytes": sum(file.stat().st_size for file in files), **judged(us, running[key])}
                if told.int8 is not None:
                    forms[key]["told"] = {"agreement": told.int8.agreement, "error": round(told.int8.error, 5)}
        x = torch.randn(us.example.shape, generator=torch.Generator().manual_seed(0))
        jobs = {key: lambda net=net: net(x) for key, net in running.items()}
        found = {"ms": interleaved(jobs, ROUNDS, warm=5)}
    found |= {"forms": forms, "macs": round(shares["pruned"] / shares["dense"], 4), "processor": processor()}
    return found | (unharmed(networks, running, us) if case.keep is None else {})


def unharmed(networks: dict[str, nn.Module], running: dict[str, nn.Module], us: Subject) -> dict[str, bool]:
    """Of a network of which nothing was cut: the same weights, and the same answers in 8 bits."""
    both = zip(networks["dense"].state_dict().values(), networks["pruned"].state_dict().values(), strict=True)
    x = us.loader(99)[0][:8]
    same = torch.equal(running["dense int8"](x), running["pruned int8"](x))
    return {"unharmed": all(torch.equal(a, b) for a, b in both), "same_answers": same}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, help="folder with wheels/ and unpacked/")
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()), help="where trained networks are kept"
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--runtimes", nargs="+", choices=SUFFIX, default=["onnxruntime"])
    parser.add_argument("--samples", type=int, default=SAMPLES, help="calibration pictures")
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.smoke:
        CASES["tiny, 50 %"] = Case("tiny", 0.5, 128)
        options.cases, options.draws, options.samples = ["tiny, 50 %"], [0], 128
        options.work = Path(tempfile.mkdtemp(prefix="smoke-"))
    results = ResultsFile.of(options, "int8", ("case", "runtime", "draw"))
    for name in options.cases:
        us = None
        for runtime in options.runtimes:
            for draw in options.draws[: 1 if CASES[name].keep is None else None]:
                about = {"case": name, "runtime": runtime, "draw": draw}
                if not results.has(**about):
                    us = us or subject(CASES[name].net, options)
                    found = measured(CASES[name], us, draw, runtime)
                    results.append(about | {"samples": us.samples, "test": us.digest} | found)


if __name__ == "__main__":
    main()
