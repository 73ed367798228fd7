"""Fewer blocks or fewer channels, at equal measured latency: which is more accurate after the same tuning?

    python benchmarks/depth_or_width.py [--nets resnet20 resnet56] [--keeps 0.7 0.5] [--seeds 0 1 2 3 4]

Blocks leave first, down to a share of the MACs. Channels of another copy then leave until it takes as long: its share
of MACs is halved in on by timing candidates in turn with the shallow network (CPU time of one thread). How equal the
times came out is in the rows, with an interval over rounds. Both are tuned on the same pictures. Blocks by clusters of
energies, channels by L1 with the default allocation in steps of 4. Dense networks are those of task_digits.py.
"""

from __future__ import annotations

import copy

import torch
import torch_pruning as tp
from equal_latency import as_fast
from results_file import ResultsFile, arguments
from safetensors.torch import save_file
from task_digits import EXAMPLE, NETS, Contest, add_contest, contest_options, dense
from torch import nn

import infoprune as ip

L1 = tp.importance.MagnitudeImportance(p=1)
BATCH, ROUND_TO = 16, 4


def main() -> None:
    parser = arguments(__doc__)
    add_contest(parser)
    parser.add_argument("--keeps", type=float, nargs="+", default=[0.7, 0.5], help="of the MACs, for the blocks")
    parser.set_defaults(nets=["resnet20", "resnet56"])
    options = contest_options(parser)
    if options.smoke:
        smoke(options)
    results = ResultsFile.of(options, "depth_or_width", ("net", "keep", "way", "seed", "images"))
    for seed in options.seeds:
        contest = Contest(seed, options.images)
        for net in options.nets:
            for keep in options.keeps:
                key = {"net": net, "keep": keep, "seed": seed, "images": contest.images}
                if not results.has(**key, way="channels"):
                    for row in compared(dense(net, options.work), keep, contest):
                        results.append({**key, **row})


def smoke(options) -> None:
    """The tiny network of the contests has no blocks; an untrained ResNet-20 does for a look."""
    options.nets, options.keeps = ["resnet20"], [0.5]
    model = NETS["resnet20"].build()
    save_file(model.state_dict(), options.work / f"resnet20_{NETS['resnet20'].images}.safetensors")


def compared(model: nn.Module, keep: float, contest: Contest) -> list[dict]:
    """A row for the network with fewer blocks, and one for that with fewer channels."""
    shallow = without_blocks(model, keep, contest)
    fast = as_fast(lambda share: narrowed(model, share), shallow, torch.randn(BATCH, *EXAMPLE.shape[1:]))
    before = ip.measure(model, EXAMPLE).macs
    found = []
    for way, candidate in (("blocks", shallow), ("channels", fast.network)):
        about = {"way": way, "macs_keep": ip.measure(candidate, EXAMPLE).macs / before}
        equal = {"time_over_blocks": fast.times.value, "interval_95": [fast.times.low, fast.times.high]}
        timed = equal if way == "channels" else {}
        found.append({**about, **timed, **contest.run(candidate)})
    return found


def without_blocks(model: nn.Module, keep: float, contest: Contest) -> nn.Module:
    seen = ip.unit_energies(model, contest.calibration, EXAMPLE)
    plan = ip.plan_depth(model, EXAMPLE, seen, budgets=ip.budgets.macs(keep=keep))
    return ip.prune_(copy.deepcopy(model), EXAMPLE, plan, certify=False).eval()


def narrowed(model: nn.Module, keep: float) -> nn.Module:
    plan = ip.plan(model, EXAMPLE, L1, budgets=[ip.budgets.macs(keep=keep)], round_to=ROUND_TO)
    return ip.prune_(copy.deepcopy(model), EXAMPLE, plan, certify=False)


if __name__ == "__main__":
    main()
