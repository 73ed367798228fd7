"""One budget over tokens, heads and MLP widths of DeiT-S, against each of them alone, by the value of the plan.

    python benchmarks/token_joint.py

Tokens leave before blocks 3, 6 and 9. What n tokens cost in a block of h heads and m hidden units is a posynomial of
degree three, so that the solver of `infoprune.allocation` shares the budget between all of them (scores, 0.14 % of a
block, are left out). A block's heads and its MLP weigh 1 each, a stage's tokens as much as the sites of the blocks they
run through: this compares what the axes can reach, not what a network loses.
"""

from __future__ import annotations

import argparse

import numpy as np
import timm
import torch

import infoprune as ip
from infoprune.allocation import Allocation, Posynomial, Problem, allocate
from infoprune.errors import Infeasible
from infoprune.families.tokens import TokenLayout, token_layout

STAGES = (3, 6, 9)
WEIGHT = 6.0  # of a stage's tokens: three blocks with two sites each
FLOOR = 0.1
FEW, MORE = 10, 20  # tokens at which a block's price is taken, to know it at all others


def price(model: torch.nn.Module, layout: TokenLayout) -> Posynomial:
    """MACs as a function of (tokens of three stages, heads of every block, MLP width of every block)."""
    depth, terms = len(layout.blocks), {}
    sites = len(STAGES) + 2 * depth

    def add(coefficient: float, *factors: int) -> None:
        row = np.bincount(factors, minlength=sites) if factors else np.zeros(sites, int)
        terms[tuple(row)] = terms.get(tuple(row), 0) + coefficient

    for b, name in enumerate(layout.blocks):
        stage = sum(b >= s for s in STAGES) - 1
        for linear, square, own in block_terms(model.get_submodule(name), layout.dim):
            widths = [len(STAGES) + kind * depth + b for kind in own]
            p = layout.prefix if stage >= 0 else layout.prefix + layout.patches
            add(linear * p + square * p * p, *widths)
            if stage >= 0:
                add(linear + 2 * square * p, stage, *widths)
                add(square, stage, stage, *widths)
    around = ip.measure(model, torch.zeros(1, *layout.image)).macs - Posynomial(*split(terms))(sizes(model, layout))
    add(around)
    return Posynomial(*split(terms)).simplified()


def split(terms: dict) -> tuple[list[float], np.ndarray]:
    return list(terms.values()), np.array(list(terms))


def block_terms(block: torch.nn.Module, dim: int) -> list[tuple[float, float, list[int]]]:
    """(linear, square, sites): a block costs (linear n + square n^2) times heads (0) or MLP width (1) at n tokens."""
    graphs = [ip.Graph.trace(block, torch.zeros(1, n, dim), verify=False) for n in (FEW, MORE)]
    few, more = (graph.cost("macs") for graph in graphs)
    kinds = [0 if "attn" in site.name else 1 for site in graphs[0].sites]
    found = []
    for row in few.exponents.toarray():
        at = [c.coefficients[(c.exponents.toarray() == row).all(1)][0] for c in (few, more)]
        square = (at[1] / MORE - at[0] / FEW) / (MORE - FEW)
        found.append((at[0] / FEW - square * FEW, square, [k for k, power in zip(kinds, row, strict=True) if power]))
    return found


def sizes(model: torch.nn.Module, layout: TokenLayout) -> np.ndarray:
    heads = [block.attn.num_heads for block in model.blocks]
    return np.array([layout.patches] * len(STAGES) + heads + [block.mlp.fc1.out_features for block in model.blocks])


def best(cost: Posynomial, full: np.ndarray, free: np.ndarray, keep: float) -> Allocation | None:
    """Only the sites that are `free` may shrink."""
    floor = np.where(free, np.maximum(1, np.ceil(FLOOR * full)), full).astype(int)
    weights = np.where(np.arange(len(full)) < len(STAGES), WEIGHT, 1.0)
    try:
        return allocate(Problem(weights=weights, sizes=full, costs=[cost], limits=[keep * cost(full)], floor=floor))
    except Infeasible:
        return None


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    model = timm.create_model("deit_small_patch16_224").eval()
    layout = token_layout(model)
    cost, full = price(model, layout), sizes(model, layout)
    place = np.arange(len(full))
    tokens, heads = place < len(STAGES), (place >= len(STAGES)) & (place < len(STAGES) + len(layout.blocks))
    axes = {"tokens": tokens, "heads and MLPs": ~tokens, "heads": heads, "MLPs": ~tokens & ~heads, "all": place >= 0}
    print(f"dense {cost(full):,.0f} MACs; value of the best plan (0 is dense, higher is better)")
    print("| MACs | " + " | ".join(axes) + " | all: tokens, heads, MLP width kept |\n|" + "---|" * (len(axes) + 2))
    for keep in (0.8, 0.63, 0.5):
        made = {name: best(cost, full, free, keep) for name, free in axes.items()}
        cells = ["cannot" if found is None else f"{found.value:.2f}" for found in made.values()]
        kept = made["all"].counts / full
        shares = f"{kept[tokens].mean():.0%}, {kept[heads].mean():.0%}, {kept[~tokens & ~heads].mean():.0%}"
        print(f"| {keep:.0%} | {' | '.join(cells)} | {shares} |")


if __name__ == "__main__":
    main()
