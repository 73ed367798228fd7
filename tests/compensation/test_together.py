"""Several networks that were pruned from one are compensated beside a single pass of it."""

import copy

import pytest
import torch
import torch_pruning as tp
from tests.compensation.test_attention import Attending
from tests.small_nets import Residual, Shared, image, make

import infoprune as ip
from infoprune.compensation.compensating import compensate_together_

L2 = tp.importance.MagnitudeImportance(p=2)
KEEPS = (0.8, 0.6, 0.4)


def several(dense, x, **terms):
    plans = [ip.plan(dense, x, L2, budgets=[ip.budgets.macs(keep=keep)], **terms) for keep in KEEPS]
    return [(ip.prune_(copy.deepcopy(dense), x, plan), plan) for plan in plans]


def one_by_one(dense, networks, loader):
    return [ip.compensate_(pruned, dense, loader, samples=48, progress=False) for pruned, _ in networks]


def together(dense, networks, loader):
    told = [(pruned, [plan]) for pruned, plan in networks]
    return compensate_together_(told, dense, loader, samples=48, progress=False)


def samples(*shape):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(16, *shape, generator=generator) for _ in range(3)]


@pytest.mark.parametrize("kind", [Residual, Shared])
def test_each_gets_bit_for_bit_what_it_gets_alone(kind):
    """Also where a layer is called twice."""
    dense, loader = make(kind), samples(*image().shape[1:])
    alone, beside = several(dense, image()), several(dense, image())
    expected, found = one_by_one(dense, alone, loader), together(dense, beside, loader)
    assert [done.to_json() for done in found] == [done.to_json() for done in expected]
    assert any(row.taken for done in found for row in done.rows)
    assert_same_weights(alone, beside)


def test_attention_that_lost_dimensions_gets_what_it_gets_alone():
    torch.manual_seed(0)
    dense, loader = Attending(2, 6).eval(), samples(5, 6)
    x = loader[0][:1]
    plans = [ip.plan(dense, x, L2, rates=rate, head_dims=["attention"]) for rate in (0.2, 0.4)]
    alone, beside = ([(ip.prune_(copy.deepcopy(dense), x, plan), plan) for plan in plans] for _ in range(2))
    sizes = [pruned.attention.in_proj_weight.shape for pruned, _ in alone]
    assert sizes[0] != sizes[1] != dense.attention.in_proj_weight.shape
    one_by_one(dense, alone, loader)
    together(dense, beside, loader)
    assert_same_weights(alone, beside)


def assert_same_weights(networks, others):
    for (one, _), (other, _) in zip(networks, others, strict=True):
        assert [n for n, tensor in one.state_dict().items() if not torch.equal(tensor, other.state_dict()[n])] == []


def test_the_dense_network_reads_the_pictures_to_fit_on_once_for_all():
    """Only the eighth of them that judges is read for each: for its outputs, before and after norms moved."""
    dense, read = make(Residual), []
    dense.stem.register_forward_pre_hook(lambda module, args: read.append(len(args[0])))
    found = []
    for count in (1, 3):
        networks = several(dense, image())[:count]
        for pruned, _ in networks:
            pruned.stem._forward_pre_hooks.clear()
        read.clear()
        together(dense, networks, samples(*image().shape[1:]))
        found.append(sum(read))
    judging = 48 // 8
    assert found[0] >= 48
    assert found[1] - found[0] <= 2 * 3 * judging
