"""Which units, where all widths are equal? With and without compensation, before and after tuning.

    python benchmarks/importances.py [--nets resnet20 vgg16 ...] [--importances L1 conditional ...] [--draws 0 1 2]
        [--images 0 1280 12800] [--rates 0.017 0.005] [--work work] [--data DATA]
    python benchmarks/importances.py --smoke

Digits on photographs and MobileNetV2 have the widths of the uniform ratio, the ViT half of its heads and MLPs at every
block, whatever rates their units. Each network is judged after a plain step without refit (batch norms estimated anew;
moved relatively where they are ImageNet's; none for the ViT) and after `compensate_`, from the same pictures. All that
is trained sees the same labelled pictures, whose first are those of calibration. Taylor's and the Hessian's gradients
are of one batch of these: of its labels on digits, elsewhere of what the dense network says itself. A share of 1.0 cuts
nothing. DATA is as for compensation.py. Rows go on where the program was stopped.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torch_pruning as tp
from allocations import FLOOR
from compensation_tuning import TEST, tuned
from criteria import CRITERIA
from results_file import ResultsFile, arguments
from task_digits import BATCH, NETS, WORK, Contest
from torch import Tensor, nn
from tqdm import tqdm

import infoprune as ip
from compensation import CASES, DigitsOnPhotos, Saliency, Subject, importance, made_up, subject
from infoprune.surgery import Plan

KEY = ("net", "keep", "importance", "draw", "samples", "compensation", "images", "rate")
VIT = "vit, heads and MLPs, 50 %"


@dataclass(frozen=True)
class Setting:
    """What is left of a network's MACs, the step without a refit, and from how many pictures either learns."""

    keeps: tuple[float, ...]
    plain: str
    samples: int


DIGITS = Setting((0.25, 0.1), "norms anew", 512)
OTHERS = {"mobilenetv2": Setting((0.75,), "norms relative", 256), "vit": Setting((0.5,), "none", 64)}


@dataclass(frozen=True)
class Shown:
    """Pictures of calibration with labels, as criteria ask a contest for them."""

    calibration: list[tuple[Tensor, Tensor]]


@cache
def contest(draw: int, images: int) -> Contest:
    """Its pictures are drawn once."""
    return Contest(draw, images=images, pictures=TEST)


@cache
def shown(us: Subject, draw: int) -> Shown:
    """Labelled by the dense network where there are no labels; the ViT's are masks, and no class."""
    if isinstance(us, DigitsOnPhotos):
        return Shown(contest(draw, us.samples).tuning)
    with torch.no_grad():
        return Shown([(x, us.model(x).argmax(1)) for x in us.loader(draw)])


def conditional(model: nn.Module, seen: Any) -> tuple[nn.Module, Callable]:
    return model, importance("conditional", model, [x for x, _ in seen.calibration])


FROM_CRITERIA = ("L1", "both alike, readers", "Taylor", "L2", "random", "FPGM", "Hessian", "BN scale", "LAMP")
IMPORTANCES = {"conditional": conditional, **{name: CRITERIA[name] for name in FROM_CRITERIA}}


def rated(us: Subject, name: str, draw: int) -> tuple[nn.Module, Callable]:
    """The network to score, and its importance."""
    if isinstance(us, Saliency) and name == "Taylor":
        return by_own_masks(us, draw), tp.importance.GroupTaylorImportance()
    return IMPORTANCES[name](us.model, shown(us, draw))


def by_own_masks(us: Saliency, draw: int) -> nn.Module:
    """A copy with the gradients of one batch, whose masks are those of the dense network."""
    model: Any = copy.deepcopy(us.model)
    logits = us.decoder(model.forward_features(us.loader(draw)[0])[:, 1:])
    F.binary_cross_entropy_with_logits(logits, (logits > 0).float()).backward()
    return model


def planned(us: Subject, keep: float, name: str, draw: int) -> Plan:
    if keep == 1:
        return Plan()
    torch.manual_seed(draw)
    model, how = rated(us, name, draw)
    uniform: dict[str, Any] = {"budgets": [ip.budgets.macs(keep=keep)], "solver": "uniform", "floor": FLOOR}
    widths: dict[str, Any] = {"rates": CASES[VIT].rates} if isinstance(us, Saliency) else uniform
    return ip.plan(model, us.example, how, **widths)


def begun(us: Subject, draw: int, how: str, plan: Plan) -> tuple[nn.Module, dict[str, Any]]:
    """The network before any tuning, and what there is to say of it."""
    pruned = ip.prune_(copy.deepcopy(us.model), us.example, plan, certify=False)
    share = ip.measure(pruned, us.example).macs / ip.measure(us.model, us.example).macs
    told = made_up(how, pruned, us, draw, plan)
    return pruned, {"macs": round(share, 4), "compensation_cpu_s": told["compensation_cpu_s"]}


def after(us: Subject, start: nn.Module, draw: int, images: int, rate: float) -> dict[str, Any]:
    """How the network is judged once it was tuned on so many labelled pictures."""
    if not images:
        return {"after": us.judged(start)}
    found = tuned(start, contest(draw, images), images, rate)
    return {"after": {"top1": found["accuracy"]}, "tuning_cpu_s": found["tuning_cpu_s"]}


def cuts(options: argparse.Namespace, net: str) -> Iterator[dict[str, Any]]:
    """One draw of everything first; what is not cut is the same whatever rates its units."""
    setting = OTHERS.get(net, DIGITS)
    keeps = options.keeps or setting.keeps
    for draw, keep, name in product(options.draws, keeps, options.importances):
        if keep < 1 or (draw, name) == (0, options.importances[0]):
            named = "any" if keep == 1 else name
            yield {"net": net, "keep": keep, "importance": named, "draw": draw, "samples": options.samples}


def regimes(options: argparse.Namespace, net: str) -> list[dict[str, Any]]:
    """Pictures and rates; only digits have labels to tune on."""
    told = [(0, 0.0), *product((n for n in options.images if n), options.rates)]
    return [{"images": n, "rate": rate} for n, rate in told if n in options.images and (not n or net in NETS)]


def chosen() -> argparse.Namespace:
    parser = arguments(__doc__)
    nets = ["resnet20", "vgg16", "resnet56_grown", *OTHERS]
    parser.add_argument("--nets", nargs="+", default=nets, choices=[*NETS, *OTHERS])
    parser.add_argument("--keeps", type=float, nargs="+", help="shares of the MACs (default: each network's own)")
    parser.add_argument("--importances", nargs="+", choices=IMPORTANCES, default=list(IMPORTANCES))
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, nargs="+", default=[0, 1_280], help="to tune on")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.017, 0.005], help="learning rates")
    parser.add_argument("--samples", type=int, help="pictures of calibration (default: each network's own)")
    parser.add_argument("--data", type=Path, help="folder with wheels/ and unpacked/")
    parser.add_argument("--work", type=Path, default=WORK, help="where trained networks are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.smoke:
        options.nets, options.keeps, options.draws, options.samples = ["tiny"], [0.5, 1.0], [0], BATCH
        options.images, options.rates, options.importances = [0, BATCH], [0.05], ["conditional", "Taylor"]
        options.work = Path(tempfile.mkdtemp(prefix="smoke-"))
    return options


def main() -> None:
    options = chosen()
    results = ResultsFile.of(options, "importances", KEY)
    asked = options.samples
    for net in options.nets:
        setting = OTHERS.get(net, DIGITS)
        options.samples = asked or setting.samples
        left = [
            (cut, how, here)
            for cut, how in product(cuts(options, net), (setting.plain, "ours"))
            if (here := [r for r in regimes(options, net) if not results.has(**cut, compensation=how, **r)])
        ]
        if left:
            contend(subject(net, options), left, results)


def contend(us: Subject, left: list[tuple[dict[str, Any], str, list[dict[str, Any]]]], results: ResultsFile) -> None:
    """A row for each cut, compensation and regime; one plan serves both compensations."""
    whole, latest, plan = us.judged(us.model), None, Plan()
    for cut, how, here in tqdm(left, disable=not sys.stderr.isatty()):
        if cut != latest:
            latest, plan = cut, planned(us, cut["keep"], cut["importance"], cut["draw"])
        start, told = begun(us, cut["draw"], how, plan)
        about = {"compensation": how, "test": us.digest, "dense": whole, **told}
        for regime in here:
            results.append({**cut, **regime, **about, **after(us, start, cut["draw"], **regime)})


if __name__ == "__main__":
    main()
