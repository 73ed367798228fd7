"""The rungs of recovery: compensation, blocks matched, then distillation, with and without each other.

    python benchmarks/ladder.py --data DATA [--nets mobilenetv2 lite0 resnet20] [--draws 0] [--pictures 1280]
        [--steps 100] [--lr 0.001] [--rate 0.003] [--rungs ...] [--keep 1.0]
    python benchmarks/ladder.py --smoke

MobileNetV2 and EfficientNet-Lite0 with ImageNet weights at 75 % of their MACs, and ResNet-20 (digits on photographs) at
25 %, without labels; networks, DATA and what they are judged by are those of compensation.py. Compensation takes 512 of
the pictures, matching and distillation as many steps each (of 32 pictures), distillation at the best of three rates
tried for a twentieth of them, with norms that keep their statistics. Beside ours stands torch-pruning's isomorphic
ranking by L1 at the same MACs: its norms are moved on the same 512 pictures as far as pruning moved them, or estimated
anew and then distilled alike, with norms that follow the batches: frozen, what is so far off does not come back.
With `--keep 1.0` nothing is cut, and every rung should leave the network unharmed. Rows go on where the program was
stopped.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from results_file import ResultsFile, arguments
from torch import Tensor, nn

import infoprune as ip
from compensation import BATCH, STOCK, agreement, norms_moved, subject
from infoprune.compensation.norms import reestimate_
from infoprune.data import Examples
from infoprune.finetune import Training, train
from infoprune.finetune.options import Norms
from infoprune.models import resnet20_cifar
from infoprune.surgery import Plan

KEEP, CALIBRATION = {"mobilenetv2": 0.75, "lite0": 0.75, "resnet20": 0.25}, 512
RUNGS = {
    "surgery": ("cut",),
    "compensation": ("cut", "compensate"),
    "compensation, matching": ("cut", "compensate", "match"),
    "compensation, distillation": ("cut", "compensate", "distil"),
    "compensation, matching, distillation": ("cut", "compensate", "match", "distil"),
    "distillation": ("cut", "distil"),
    "host isomorphic L1, norms relative": ("host", "norms"),
    "host isomorphic L1, norms anew": ("host", "anew"),
    "host isomorphic L1, norms anew, distillation": ("host", "anew", "distil_with_norms"),
}
ISOMORPHIC = STOCK["stock isomorphic"]


@dataclass(frozen=True)
class Held(Examples):
    """Pictures without labels."""

    images: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, epoch: int, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self.images[list(indices)], torch.zeros(len(indices), dtype=torch.long)


@dataclass
class Ladder:
    """One draw of pictures, and the networks that rungs have led to."""

    us: Any
    images: Tensor
    keep: float
    options: argparse.Namespace
    round_to: int = 1
    known: dict[tuple[str, ...], tuple[nn.Module, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, keep: float, us: Any, draw: int, options: argparse.Namespace) -> Ladder:
        return cls(us, pictures(us, draw, options.pictures), keep, options)

    @cached_property
    def calibration(self) -> list[Tensor]:
        return list(self.images[:CALIBRATION].split(BATCH))

    @cached_property
    def importance(self) -> ip.importance.ConditionalImportance:
        seen = ip.observe(self.us.model, self.calibration, samples=CALIBRATION, moments=True, progress=False)
        return ip.importance.ConditionalImportance(seen)

    @cached_property
    def plan(self) -> Plan:
        budgets = [ip.budgets.macs(keep=self.keep)]
        return ip.plan(self.us.model, self.us.example, self.importance, budgets=budgets, round_to=self.round_to)

    def at_share(self, keep: float, round_to: int) -> Ladder:
        """The same pictures and importance, another share of the MACs, widths in multiples."""
        other = replace(self, keep=keep, round_to=round_to, known={})
        other.importance = self.importance
        return other

    @cached_property
    def host_plan(self) -> Plan:
        return ip.plan_between(self.us.model, ISOMORPHIC(self.us.model, self.keep, self.us), self.us.example)

    def at(self, rungs: tuple[str, ...]) -> tuple[nn.Module, float]:
        """The network after these rungs, and the CPU seconds of the last."""
        if rungs not in self.known:
            if len(rungs) == 1:
                plan = self.plan if rungs == ("cut",) else self.host_plan
                pruned = ip.prune_(copy.deepcopy(self.us.model), self.us.example, plan, certify=False)
                return self.known.setdefault(rungs, (pruned, 0.0))
            network, begun = copy.deepcopy(self.at(rungs[:-1])[0]), time.process_time()
            getattr(self, rungs[-1])(network)
            self.known[rungs] = network, round(time.process_time() - begun, 1)
        return self.known[rungs]

    def norms(self, network: nn.Module) -> None:
        norms_moved(network, self.us.model, self.calibration, self.host_plan)

    def anew(self, network: nn.Module) -> None:
        reestimate_(network, self.calibration)

    def compensate(self, network: nn.Module) -> None:
        shown = sys.stderr.isatty()
        ip.compensate_(network, self.us.model, self.calibration, samples=CALIBRATION, plan=self.plan, progress=shown)

    def match(self, network: nn.Module) -> None:
        told = ip.match_(
            network, self.us.model, self.images.split(BATCH), samples=len(self.images), steps=self.options.steps,
            lr=self.options.lr, plan=self.plan, progress=True,
        )  # fmt: skip
        print(told, file=sys.stderr)

    def distil_with_norms(self, network: nn.Module) -> None:
        self.distil(network, norms="moving")

    def distil(self, network: nn.Module, norms: Norms = "frozen") -> None:
        batch = min(32, len(self.images))
        training = Training(
            epochs=self.options.steps / (len(self.images) // batch), lr=self.options.rate, distill=1.0,
            norms=norms, probe=0.05,
        )  # fmt: skip
        train(network, Held(self.images), training, batch=batch, teacher=self.us.model)


def pictures(us: Any, draw: int, count: int) -> Tensor:
    """So many different ones, drawn as those of calibration are."""
    found: list[Tensor] = []
    while sum(map(len, found)) < count:
        found.append(torch.cat(us.loader(draw + 100 * len(found))))
    return torch.cat(found)[:count]


def smoke(options: argparse.Namespace) -> Any:
    """A small network, untrained, and noise."""
    torch.manual_seed(0)
    options.pictures, options.steps, options.draws = 64, 4, [0]
    model, generator = resnet20_cifar(num_classes=4).eval(), torch.Generator().manual_seed(0)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)  # numbers that tell channels apart
    asked = torch.randn(32, 3, 32, 32, generator=generator)

    @torch.no_grad()
    def judged(network: nn.Module) -> dict[str, Any]:
        return {"alike": agreement(model(asked), network.eval()(asked))}

    loader: Callable[[int], list[Tensor]] = lambda draw: [torch.randn(32, 3, 32, 32, generator=generator)]  # noqa: E731
    return SimpleNamespace(model=model, example=asked[:1], loader=loader, judged=judged, digest="noise")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, help="folder with wheels/ and unpacked/")
    parser.add_argument("--work", type=Path, help="where trained networks are kept")
    parser.add_argument("--nets", nargs="+", default=list(KEEP), choices=KEEP)
    parser.add_argument("--draws", type=int, nargs="+", default=[0])
    parser.add_argument("--pictures", type=int, default=1280)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--lr", type=float, default=1e-3, help="of matching")
    parser.add_argument(
        "--rate", type=float, default=3e-3, help="of distillation: with a third and a tenth of it, tried"
    )
    parser.add_argument("--keep", type=float, help="share of the MACs that stays (default: as above)")
    parser.add_argument("--rungs", nargs="+", default=list(RUNGS), choices=RUNGS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.samples = 640  # of a draw
    results = ResultsFile.of(options, "ladder", ("net", "keep", "draw", "pictures", "steps", "lr", "rate", "rungs"))
    for net in ["resnet20"] if options.smoke else options.nets:
        us = smoke(options) if options.smoke else subject(net, options)
        whole = us.judged(us.model)
        for draw in options.draws:
            climb(net, us, whole, draw, options, results)


def climb(
    net: str, us: Any, whole: dict[str, Any], draw: int, options: argparse.Namespace, results: ResultsFile
) -> None:
    """All rungs that are not on file yet."""
    told = {name: getattr(options, name) for name in ("pictures", "steps", "lr", "rate")}
    told |= {"net": net, "keep": options.keep or KEEP[net], "draw": draw}
    left = [rungs for rungs in options.rungs if not results.has(rungs=rungs, **told)]
    ladder = Ladder.of(told["keep"], us, draw, options) if left else None
    for rungs in left if ladder else ():
        network, spent = ladder.at(RUNGS[rungs])
        about = {**told, "rungs": rungs, "test": us.digest, "dense": whole, "last_rung_cpu_s": spent}
        pairs = zip(network.state_dict().values(), us.model.state_dict().values(), strict=True)
        same = {"unharmed": all(torch.equal(a, b) for a, b in pairs)} if told["keep"] == 1 else {}
        results.append({**about, "after": us.judged(network), **same})


if __name__ == "__main__":
    main()
