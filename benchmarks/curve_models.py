"""Which account of what widths cost finds the best ones, and does it on networks that nobody tuned it on?

    python benchmarks/curve_models.py --data DATA [--parts direct near] [--nets resnet20 vgg16 ...] [--draws 0 1 2]
    python benchmarks/curve_models.py --smoke

DATA is what benchmarks/compensation.py needs. Units are chosen by what the others cannot make up for, networks are
compensated on pictures without labels and judged on others, untrained. Two parts:

- direct: plans at every utility p and every way to weigh layers, the uniform ratio, and widths by the sum of the
  elimination's own curves; what a whole network comes to by the same steps.
- near: random widths at the same MACs around the default ones, and what each account says of them beforehand: the
  utilities, sums of the elimination's curves as they are, scaled by cutting one site alone, with interactions of pairs
  of sites, and scaled at the end point by what giving one site all its units back gains.

Rows go on where the program was stopped.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from allocation_landscape import drawn, worth
from results_file import ResultsFile, arguments
from task_digits import WORK
from torch import nn
from widths_bench import SUMMED, UNIFORM, Bench, Counts, answers, in_parts, judged

import infoprune as ip
from compensation import Subject, subject

KEY = ("part", "net", "keep", "draw", "weights", "utility")
PARTS = ("direct", "near")
UTILITIES = (-1.0, -2.0, 0.0, -0.5)
WEIGHTS = ("layers", "curves, trust 0.5", "curves, trust 1", "elimination, trust 0.5", "elimination, trust 1")
SETTINGS = [(UNIFORM, None), (SUMMED, None), *((weights, p) for p, weights in product(UTILITIES, WEIGHTS))]
KEEPS = {"mobilenetv2": (0.75,), "lite0": (0.75,), "vit": (0.624,)}
SMALL, BUDGETS = ("resnet20", "vgg16", "resnet56_grown"), (0.25, 0.10)
PICTURES = {"vit": 64}  # of which there are no more cut-outs; the others see 256
NEAR = 24  # random widths


# -------------------------------------------------------------------------------------------------------- the parts


def direct(bench: Bench, about: Mapping[str, Any], results: ResultsFile) -> None:
    """The network that each setting leads to; the whole one if all is to stay."""
    settings = SETTINGS if about["keep"] < 1 else [("layers", -1.0)]
    wanted = [(w, u) for w, u in settings if not results.has(**about, weights=w, utility=u)]
    if not wanted:
        return
    us, dense = bench.us, answers(bench.us, bench.us.model)
    about = {**about, "pictures": us.samples, "test": us.digest, "dense": judged(us, dense, dense)}
    for some in in_parts([(w, u, bench.counts(about["keep"], w, u)) for w, u in wanted]):
        networks = bench.compensated([counts for *_, counts in some], us.samples)
        for (weights, utility, counts), network in zip(some, networks, strict=True):
            row = {**about, "weights": weights, "utility": utility, "macs": share_of_macs(us, network)}
            if about["keep"] == 1:
                both = zip(network.state_dict().values(), us.model.state_dict().values(), strict=True)
                row["unharmed"] = all(torch.equal(a, b) for a, b in both)
            results.append(row | judged(us, dense, answers(us, network)) | {"counts": counts})


def share_of_macs(us: Subject, network: nn.Module) -> float:
    pruned, whole = (ip.measure(model, us.example).macs for model in (network, us.model))
    return round(pruned / whole, 4)


def near(bench: Bench, about: Mapping[str, Any], results: ResultsFile) -> None:
    """Widths around the default ones: their divergence, and what each account says of it beforehand."""
    if about["keep"] == 1 or results.has(**about, weights=None, utility=None):
        return
    end = bench.counts(about["keep"], "layers", -1.0)
    many = [drawn(bench.scored.graph, about["keep"], draw, end) for draw in range(1, NEAR + 1)]
    said = by_utilities(bench, many)
    scales, pairs, spent = scaled(bench, end)
    lost = np.array([[bench.losses[site][kept] for site, kept in counts.items()] for counts in (end, *many)])
    slopes = {name: each_unit(scale, lost[0]) for name, scale in scales.items()}
    said |= {name: (lost[1:] @ slope).tolist() for name, slope in {SUMMED: np.ones(len(end)), **slopes}.items()}
    shares = np.divide(lost[1:], lost[0], out=np.zeros_like(lost[1:]), where=lost[0] > 0)
    said["with pairs"] = (said["alone"] + np.einsum("ni,ij,nj->n", shares, pairs, shares) / 2).tolist()
    led = {name: bench.counts(about["keep"], SUMMED, None, slope) for name, slope in slopes.items()}
    kl = bench.divergences([*many, end, *led.values()], trials=False)
    about = {**about, "weights": None, "utility": None, "pictures": bench.us.samples, "test": bench.us.digest}
    told = {"kl": kl[:NEAR], "end": kl[NEAR], "led": dict(zip(led, kl[NEAR + 1 :], strict=True)), "said": said}
    results.append({**about, **told, "scaling_cpu_s": spent, "sites": len(end)})


def each_unit(scale: np.ndarray, at_end: np.ndarray) -> np.ndarray:
    """What the network loses for each unit of a site's own loss; the mean of the others' where a site is whole."""
    cut = at_end > 0
    slopes = np.divide(scale, at_end, out=np.zeros_like(at_end), where=cut)
    return np.where(cut, slopes, slopes[cut].mean())


def by_utilities(bench: Bench, many: Sequence[Counts]) -> dict[str, list[float]]:
    """What the widths cost by every utility and every way to weigh layers."""
    graph, told = bench.scored.graph, {}
    for weights, utility in product(WEIGHTS, UTILITIES):
        of = bench.weighs(weights, utility)(graph)
        costs = [-sum(of[s] * worth(kept / bench.sizes[s], utility) for s, kept in c.items()) for c in many]
        told[f"{weights}, p = {utility:g}"] = costs
    return told


def scaled(bench: Bench, end: Counts) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, float]]:
    """What each site costs, alone and at the end point; what pairs cost beyond both alone; CPU seconds of each."""
    whole, sites = bench.sizes, list(end)
    couples = list(combinations(range(len(sites)), 2))
    tried = {
        "alone": [{**whole, site: end[site]} for site in sites],
        "pairs": [{**whole, **{sites[i]: end[sites[i]] for i in pair}} for pair in couples],
        "at the end": [end, *({**end, site: whole[site]} for site in sites)],
    }
    found, spent = {}, {}
    for name, many in tried.items():
        begun = time.process_time()
        found[name] = np.array(bench.divergences(many, trials=True))
        spent[name] = round(time.process_time() - begun, 1)
    alone, pairs = found["alone"], np.zeros((len(sites), len(sites)))
    for (i, j), both in zip(couples, found["pairs"], strict=True):
        pairs[i, j] = pairs[j, i] = both - alone[i] - alone[j]
    gains = np.clip(found["at the end"][0] - found["at the end"][1:], 0, None)
    return {"alone": alone, "at the end": gains}, pairs, spent


# --------------------------------------------------------------------------------------------------------- the runs


def chosen() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, help="folder with wheels/ and unpacked/")
    parser.add_argument("--work", type=Path, default=WORK, help="where trained networks are kept")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--nets", nargs="+", choices=[*SMALL, *KEEPS], default=[*SMALL, *KEEPS])
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.smoke:
        options.nets, options.draws, options.work = ["tiny"], [0], Path(tempfile.mkdtemp(prefix="smoke-"))
        KEEPS["tiny"], PICTURES["tiny"] = (0.5,), 128
    return options


def main() -> None:
    options = chosen()
    results = ResultsFile.of(options, "curve_models", KEY)
    options.work.mkdir(parents=True, exist_ok=True)
    for part, draw, net in product(options.parts, options.draws, options.nets):
        options.samples = PICTURES.get(net, 256)
        bench = Bench(subject(net, options), draw, options.work / f"curve_models_{net}_{draw}.safetensors")
        for keep in [*([1.0] if draw == options.draws[0] else []), *KEEPS.get(net, BUDGETS)]:
            about = {"part": part, "net": net, "keep": keep, "draw": draw}
            (direct if part == "direct" else near)(bench, about, results)


if __name__ == "__main__":
    main()
