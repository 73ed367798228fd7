"""Prices, certificates and surgery hold on networks that nobody thought of."""

import copy
from contextlib import contextmanager, nullcontext

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from independent_mask import compare, distinct
from tests.random_nets import GROUPED_QUERIES, RMS_NORM, FusedAttention, Head, Split, Tokens, networks
from torch import nn

import infoprune as ip
from infoprune.graph import Graph, slicing, verify
from infoprune.graph.tape import Tape
from infoprune.surgery import KeepChannels, Plan, certificate

QUIET = {
    "deadline": None, "derandomize": True, "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
}  # fmt: skip
ROUNDING = 1e-9  # double precision, some ten layers


def picture(batch, size):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(batch), dtype=torch.float64)


def drawn(graph, choose):
    """A plan that keeps some units of every site, at least one."""
    kept = {s.name: choose(s.size) for s in graph.sites}
    return Plan(tuple(KeepChannels.of(graph.couplings[name], units) for name, units in kept.items())), kept


def choice(seed):
    generator = torch.Generator().manual_seed(seed)

    def some(size):
        count = int(torch.randint(1, size + 1, (), generator=generator))
        return sorted(torch.randperm(size, generator=generator)[:count].tolist())

    return some


@contextmanager
def scaled_by_what_is_there():
    """Attention divides by the root of the dimensions that are not zero: masked heads are scaled as cut ones."""
    attention = F.scaled_dot_product_attention

    def scaled(q, *others, **more):
        there = (q != 0).flatten(0, -4).any(0).any(-2).sum(-1).max().clamp(min=1)
        return attention(q, *others, **{"scale": float(there) ** -0.5, **more})

    F.scaled_dot_product_attention = scaled
    try:
        yield
    finally:
        F.scaled_dot_product_attention = attention


def holds(model, seed):
    """Price = count, certificate = number, and the independent mask agrees; returns how many sites there are."""
    dense, example = distinct(model), picture(2, 6)
    graph = Graph.trace(dense, example)
    plan, kept = drawn(graph, choice(seed))
    counts = [len(kept[site.name]) for site in graph.sites]
    predicted = tuple(graph.cost(unit)(counts) for unit in ("macs", "params"))
    whole = tuple(graph.cost(unit)([site.size for site in graph.sites]) for unit in ("macs", "params"))
    counted = ip.measure(dense, example)
    assert (counted.macs, counted.params) == whole
    certificate = ip.certificate_of(dense, example, plan)
    assert certificate.verdict == ("not exact by design" if certificate.statistics else "exact"), str(certificate)
    assert certificate.compared, str(certificate)
    pruned = ip.prune_(copy.deepcopy(dense), example, plan, certify=False)
    measured = ip.measure(pruned, example)
    assert (measured.macs, measured.params) == predicted
    for inputs in (example, picture(3, 6), picture(1, 8)):
        with scaled_by_what_is_there() if "attention scale" in certificate.statistics else nullcontext():
            compared = compare(dense, pruned, (inputs,))
        assert compared.relative <= ROUNDING, f"{compared}, {certificate}, {plan.widths}"
    return len(graph.sites)


def many(examples, also=(), **more):
    """Hypothesis draws and shrinks; a network with nothing to prune proves nothing, so those are counted."""
    sites = []

    @settings(max_examples=examples, **QUIET, **more)
    @given(networks(also), st.integers(0, 5))
    def each(model, seed):
        sites.append(holds(model, seed))

    each()
    assert sum(n > 0 for n in sites) > 0.9 * len(sites)
    assert len(sites) >= examples


@pytest.mark.parametrize("examples", [25, pytest.param(5000, marks=pytest.mark.slow)])
def test_every_promise_holds_on_random_networks(examples):
    many(examples)


def test_heads_that_are_cut_with_the_stream_are_scaled_by_design():
    """Halves of the stream and two dimensions of every head are as long, and are found to be one site."""
    torch.manual_seed(0)
    halves = Split(2, nn.Sequential(nn.AvgPool2d(3, 1, 1)), chunk=True)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Tokens(FusedAttention(4, 2)), halves, Head(4, flat=False))
    graph = Graph.trace(distinct(model), picture(2, 6))
    plan, _ = drawn(graph, lambda size: [0])
    assert ip.certificate_of(distinct(model), picture(2, 6), plan).statistics == ("attention scale",)
    assert holds(model, 0) == 1


SOME = pytest.mark.parametrize("examples", [8, pytest.param(300, marks=pytest.mark.slow)])


@SOME
def test_every_promise_holds_with_grouped_queries(examples):
    many(examples, [GROUPED_QUERIES])


@SOME
def test_every_promise_holds_with_rms_norms(examples):
    many(examples, [RMS_NORM])


def test_a_wrong_index_is_noticed_where_the_certificate_is_blind(monkeypatch):
    """Columns are cut one too far, and the library's own comparison always agrees."""
    right = slicing.sliced

    def wrong(tensor, kept):
        columns = {a: (i + (a == 1 and tensor.dim() > 1)) % tensor.shape[a] for a, i in kept.items()}
        return right(tensor, columns)

    monkeypatch.setattr(slicing, "sliced", wrong)
    for module in (verify, certificate):
        monkeypatch.setattr(module, "compare", lambda *_: verify.Agreement(0.0, 1.0))
    with pytest.raises(AssertionError, match="Compared"):
        many(20, phases=[Phase.generate])


def test_a_product_without_a_price_is_noticed(monkeypatch):
    """The first product of every network is left out."""
    count, forgotten = Tape.count_product, []

    def forgetful(tape, constant, extents):
        if any(tape is seen for seen in forgotten):
            count(tape, constant, extents)
        forgotten.append(tape)

    monkeypatch.setattr(Tape, "count_product", forgetful)
    with pytest.raises(AssertionError):
        many(5, phases=[Phase.generate])
