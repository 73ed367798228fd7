"""family(): networks inside each other, each within its budget, from one look at the dense one."""

import copy
import itertools

import numpy as np
import pytest
import torch
import torch_pruning as tp
from torch import nn

import infoprune as ip
from infoprune.errors import Infeasible, UnusableData
from infoprune.models import models
from infoprune.planning import Scored, Terms, nested
from tests.small_nets import Attention, Chunked, Depthwise, Residual, image, make
from tests.torch_flops import torch_flops

L2 = tp.importance.MagnitudeImportance(p=2)
KEEPS = [0.75, 0.5, 0.35]
REACHED = [0.8, 0.65, 0.5]  # by every network here


def pictures():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(16, *image().shape[1:], generator=generator) for _ in range(2)]


def made(model=None, keeps=KEEPS, **options):
    options = {"importance": L2, "progress": False, **options}
    return ip.family(make(Residual) if model is None else model, image(), None, keeps=keeps, **options)


def kept(plan):
    return {edit.site.name: set(edit.kept) for edit in plan.edits}


def inside(smaller, larger):
    """Whether every unit that the smaller plan keeps is one of the larger one's."""
    mine, theirs = kept(smaller), kept(larger)
    return theirs.keys() <= mine.keys() and all(mine[site] <= theirs[site] for site in theirs)


KINDS, TERMS = (
    (Residual, Depthwise, Chunked, Attention),
    ({}, {"utility": 1.0}, {"round_to": 2}, {"utility": 0.0, "floor": 1}),
)
ONE_BY_ONE = [*((kind, {}) for kind in KINDS), *((Residual, terms) for terms in TERMS[1:])]
TOGETHER = [(kind, terms) for kind in KINDS[1:] for terms in TERMS[1:]]


@pytest.mark.parametrize(
    ("kind", "terms"),
    [*ONE_BY_ONE, *(pytest.param(kind, terms, marks=pytest.mark.slow) for kind, terms in TOGETHER)],
    ids=str,
)
def test_every_unit_of_a_smaller_network_is_one_of_the_larger_one(kind, terms):
    family = made(make(kind), keeps=REACHED, **terms)
    assert all(inside(small.plan, large.plan) for large, small in itertools.pairwise(family))
    assert family.members[0].plan.widths != family.members[-1].plan.widths


def test_where_plans_made_alone_are_not_nested_the_familys_are():
    """A linear utility starves other sites at other budgets."""
    torch.manual_seed(0)
    model, x = models["resnet20_cifar"]().eval(), torch.randn(1, 3, 32, 32)
    budgets = [[ip.budgets.macs(keep=keep)] for keep in KEEPS]
    scored = Scored.of(model, x, L2, Terms(utility=1.0))
    alone = [ip.plan(model, x, L2, budgets=wanted, utility=1.0) for wanted in budgets]
    ours = [found.plan for found in nested(scored, budgets)]
    assert not all(inside(small, large) for large, small in itertools.pairwise(alone))
    assert all(inside(small, large) for large, small in itertools.pairwise(ours))


@pytest.mark.parametrize("utility", [-1.0, 0.0, 1.0])
def test_no_network_inside_the_larger_one_is_worth_more_than_the_bound(utility):
    """All of them tried."""
    scored = Scored.of(make(Residual), image(), L2, Terms(utility=utility, floor=1))
    found = nested(scored, [[ip.budgets.macs(keep=keep)] for keep in KEEPS])
    macs, whole = scored.graph.cost("macs"), scored.problem([ip.budgets.macs(keep=1.0)])
    for large, small, keep in zip(found[:-1], found[1:], KEEPS[1:], strict=True):
        ceilings = large.allocation.counts
        choices = (np.array(c) for c in itertools.product(*(range(1, most + 1) for most in ceilings)))
        limit = int(keep * macs(whole.sizes))
        best = max(whole.value(counts) for counts in choices if macs(counts) <= limit)
        assert small.allocation.value <= best + 1e-9
        assert best <= small.allocation.bound + 1e-9
        assert best - small.allocation.value <= 0.05 * whole.weights.sum()


def plain():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 12, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5),
    ).eval()  # fmt: skip


def test_without_pictures_weights_are_slices_of_the_larger_network():
    for large, small in itertools.pairwise(made(plain())):
        rows = [[sorted(kept(of.plan)[site]) for of in (large, small)] for site in ("0", "3")]
        first, second = ([theirs.index(unit) for unit in ours] for theirs, ours in rows)
        assert torch.equal(small.model[0].weight, large.model[0].weight[first])
        assert torch.equal(small.model[1].running_var, large.model[1].running_var[first])
        assert torch.equal(small.model[3].weight, large.model[3].weight[second][:, first])
        assert torch.equal(small.model[7].weight, large.model[7].weight[:, second])
        assert torch.equal(small.model[7].bias, large.model[7].bias)


@pytest.mark.parametrize("kind", [Residual, Depthwise, Attention])
def test_each_costs_what_torch_counts_within_its_budget(kind):
    dense = make(kind)
    whole = torch_flops(dense, image()) // 2
    for member, keep in zip(made(dense, keeps=REACHED), REACHED, strict=True):
        found = torch_flops(member.model, image()) // 2
        assert found <= keep * whole
        assert found == member.plan.prices["macs"].after
        assert sum(p.numel() for p in member.model.parameters()) == member.plan.prices["params"].after


def test_other_budgets_than_macs_hold_too():
    budgets = [ip.budgets.params(keep=0.7), ip.budgets.params(at_most=900)]
    family = made(keeps=budgets)
    assert family.names == ("0.7", "900")
    assert sum(p.numel() for p in family[900].model.parameters()) <= 900


def test_each_is_compensated_as_alone():
    dense = make(Residual)
    for member in made(dense, loader=pictures(), samples=32):
        alone = ip.prune_(copy.deepcopy(dense), image(), member.plan)
        done = ip.compensate_(alone, dense, pictures(), samples=32, progress=False)
        assert member.compensations == (done,)
        assert all(torch.equal(t, member.model.state_dict()[n]) for n, t in alone.state_dict().items())


def test_units_are_ranked_by_what_was_seen():
    dense = make(Residual)
    seen = ip.observe(dense, pictures(), moments=True, progress=False)
    family = ip.family(dense, image(), seen, keeps=KEEPS, progress=False)
    expected = ip.plan(dense, image(), ip.importance.ConditionalImportance(seen), budgets=[ip.budgets.macs(keep=0.75)])
    assert family[0.75].plan.edits == expected.edits


def test_a_member_that_keeps_everything_comes_out_unharmed():
    dense = make(Residual)
    family = made(dense, keeps=[1.0, 0.5], loader=pictures())
    whole = family[1].model
    assert whole is not dense
    assert family[1].plan.edits == ()
    assert family[1].compensations == ()
    assert all(torch.equal(t, dense.state_dict()[n]) for n, t in whole.state_dict().items())
    assert torch.equal(whole(image()), dense(image()))
    assert {p.data_ptr() for p in whole.parameters()}.isdisjoint(p.data_ptr() for p in dense.parameters())


def test_the_dense_network_stays_as_it_was():
    dense = make(Residual).train()
    before = copy.deepcopy(dense.state_dict())
    family = made(dense, loader=pictures())
    assert dense.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in dense.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in dense.state_dict().items())
    assert all(member.model.training for member in family)


@pytest.mark.parametrize(
    ("keeps", "kind", "told"),
    [
        ([], TypeError, "give falling shares"),
        (0.5, TypeError, "give falling shares"),
        ("0.5", TypeError, "give falling shares"),
        ([0.5, "a"], TypeError, "keeps holds 'a'"),
        ([0.5, True], TypeError, "keeps holds True"),
        ([0.5, 0.75], ValueError, "each once"),
        ([0.5, 0.5], ValueError, "each once"),
        ([0.5, float("nan")], ValueError, "nan"),
        ([1.5, 0.5], ValueError, "above 0 and at most 1"),
        ([0.5, 0.0], ValueError, "above 0 and at most 1"),
        ([ip.budgets.macs(keep=0.5), ip.budgets.macs(keep=0.7)], ValueError, "sizes that fall"),
        ([ip.budgets.macs(keep=0.5), ip.budgets.params(keep=0.3)], ValueError, "several kinds"),
        ([0.75, 0.000001], Infeasible, "cannot be met|less than 1"),
        ([0.75, 0.01], Infeasible, "cannot be met"),
    ],
    ids=str,
)
def test_sizes_that_make_no_family_are_refused_in_one_sentence(keeps, kind, told):
    dense = make(Residual)
    before = copy.deepcopy(dense.state_dict())
    with pytest.raises(kind, match=told) as error:
        made(dense, keeps=keeps, loader=pictures())
    assert "\n" not in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in dense.state_dict().items())


def test_nothing_to_rank_by_is_told():
    with pytest.raises(TypeError, match="seen is NoneType"):
        made(importance=None)
    seen = ip.observe(make(Residual), pictures(), progress=False)
    with pytest.raises(UnusableData, match="moments=True"):
        ip.family(make(Residual), image(), seen, keeps=KEEPS)


@pytest.mark.parametrize("term", ["rates", "budgets", "depth", "wheels"])
def test_terms_that_a_family_settles_itself_are_refused(term):
    with pytest.raises(TypeError, match=f"takes no {term}"):
        made(**{term: 0.5})


def test_the_table_has_a_row_a_member():
    told = str(made(loader=pictures()))
    rows = [line.split() for line in told.splitlines()[2:5]]
    assert [row[0] for row in rows] == ["0.75", "0.5", "0.35"]
    assert "->" in rows[0]
