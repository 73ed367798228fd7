"""Random networks: where every unit that leaves has a double that stays, the compensated network is the dense one."""

from __future__ import annotations

import copy
from contextlib import contextmanager

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.compensation.tied_nets import gap, keeping, pictures
from tests.random_nets import GROUPED_QUERIES, networks
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

import infoprune as ip
from infoprune.graph import Graph
from infoprune.graph.slicing import named_tensors
from infoprune.graph.slots import Coupling, Slot
from infoprune.observe.reader_layers import input_axis, reads

EXACT = 1e-9  # of the largest output, in double precision
SETTLED = 1e-6  # where attention averages so much that what varies is far below the mean, whose square rounds moments
IMAGE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)


def is_written(model: nn.Module, slot: Slot) -> bool:
    """Whether the slot holds what makes channels, and not what reads them."""
    owner, _, leaf = slot.tensor.rpartition(".")
    layer = model.get_submodule(owner)
    return not (leaf == "weight" and reads(layer) and slot.axis == input_axis(layer))


def double_(model: nn.Module, coupling: Coupling, doubles: dict[int, int]) -> None:
    """Make each of these units say what another says: equal rows wherever their channels are made."""
    tensors = named_tensors(model)
    for slot in coupling.slots:
        if is_written(model, slot):
            index, unit = slot.owners()
            for one, other in doubles.items():
                rows = tensors[slot.tensor].transpose(0, slot.axis)
                rows[index[unit == one]] = rows[index[unit == other]]


def stirred(model: nn.Module) -> nn.Module:
    """In double precision, with norms that have seen something."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in named_tensors(model.double()).items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2, generator=generator)
        elif tensor.dim() == 1 and tensor.is_floating_point():
            tensor.add_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype), alpha=0.3)
    return model.eval()


def of_all_colours() -> list[Tensor]:
    """Pictures whose means differ as much as their pixels, so that what reads means has something to learn from."""
    generator = torch.Generator().manual_seed(2)
    return [x + torch.randn(len(x), 3, 1, 1, generator=generator, dtype=x.dtype) for x in pictures(3, 8, 8)]


def with_conv1d(model: nn.Module) -> nn.Module:
    """With transformers' layer, whose weight lies the other way round, for every linear one."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear:
                setattr(module, name, nn.Sequential(Contiguous(), Conv1D(child.out_features, child.in_features)))
    return model


class Contiguous(nn.Module):
    """Conv1D reads no other tensors."""

    def forward(self, x: Tensor) -> Tensor:
        return x.contiguous()


@contextmanager
def nothing_dead():
    """Units that speak on every picture: of one that is silent on all that are fitted nothing can be learnt."""
    relu = torch.relu
    torch.relu = lambda x: torch.nn.functional.leaky_relu(x, 0.2)
    try:
        yield
    finally:
        torch.relu = relu


def doubled(dense: nn.Module, seed: int) -> dict[str, list[int]]:
    """Units to keep of every site that can be exact; all others become doubles of kept ones."""
    generator, kept = torch.Generator().manual_seed(seed), {}
    for coupling in Graph.trace(dense, IMAGE).couplings.values():
        size = coupling.site.size
        if coupling.inexact or size < 2:
            continue
        count = int(torch.randint(1, size, (), generator=generator))
        stay, *leave = torch.randperm(size, generator=generator).split([count, *[1] * (size - count)])
        double_(dense, coupling, {int(unit): int(stay[i % count]) for i, unit in enumerate(leave)})
        kept[coupling.site.name] = sorted(stay.tolist())
    return kept


@torch.no_grad()
def made_up_for(dense: nn.Module, seed: int, tolerance: float = EXACT) -> None:
    kept = doubled(stirred(dense), seed)
    pruned = ip.prune_(copy.deepcopy(dense), IMAGE, keeping(dense, IMAGE, kept), certify=False)
    table = ip.compensate_(pruned, dense, of_all_colours(), progress=False)
    assert not table.alone, table
    assert gap(dense, pruned, IMAGE) < tolerance, table


@pytest.mark.parametrize("examples", [12, pytest.param(300, marks=pytest.mark.slow)])
def test_units_whose_doubles_stay_are_made_up_for(examples):
    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(networks(), st.integers(0, 99), st.booleans())
    def each(dense, seed, transposed):
        with nothing_dead():
            made_up_for(with_conv1d(dense) if transposed else dense, seed)

    each()


@pytest.mark.parametrize("examples", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_so_are_heads_that_share_keys(examples):
    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(networks(also=(GROUPED_QUERIES,)), st.integers(0, 99))
    def each(dense, seed):
        with nothing_dead():
            made_up_for(dense, seed, SETTLED)

    each()
