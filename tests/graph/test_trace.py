"""Graph.trace: which channels hang together, what they cost, what is left alone."""

import copy
from functools import cache

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.small_nets import (
    NETS,
    Attention,
    Chunked,
    Dense,
    Depthwise,
    Grouped,
    ManyGroups,
    Residual,
    TwoInputs,
    image,
    make,
)
from tests.torch_flops import torch_flops

import infoprune as ip
from infoprune.graph import Graph
from infoprune.surgery import KeepChannels, Plan


def roles(graph: Graph, site: str) -> dict[str, str]:
    return {f"{m.name}:{m.role}": m.role for m in graph.members(site)}


def test_a_residual_stream_is_one_site_and_the_branch_another():
    graph = Graph.trace(make(Residual), image())
    assert {s.name: s.size for s in graph.sites} == {"stem": 8, "one": 12}
    assert set(roles(graph, "stem")) == {
        "stem:out", "norm:norm", "one:in", "two:out", "bn:norm", "head:in",
    }  # fmt: skip


def test_every_part_of_a_concatenation_is_its_own_site_at_its_own_offset():
    graph = Graph.trace(make(Dense), image())
    assert [s.name for s in graph.sites] == ["stem", "one", "two"]
    found = {m.name: m.index.tolist() for m in graph.members("one") if m.role == "in"}
    assert found == {"two": list(range(8, 14)), "head": list(range(8, 14))}


def test_a_depthwise_convolution_leaves_with_its_input():
    graph = Graph.trace(make(Depthwise), image())
    assert {"expand:out", "depth:depthwise", "bn:norm", "project:in"} == set(roles(graph, "expand"))


def test_groups_of_a_grouped_convolution_stay_equal():
    graph = Graph.trace(make(Grouped), image())
    stem, grouped = graph.site("stem"), graph.site("grouped")
    assert (stem.size, stem.step, grouped.size, grouped.step) == (4, 2, 6, 2)


def test_a_head_is_a_unit_of_queries_keys_and_values():
    graph = Graph.trace(make(Attention), image())
    site = graph.site("qkv")
    assert (site.size, site.step) == (2, 12)
    attributes = {(a.name, a.per_unit) for a in graph.couplings["qkv"].attributes}
    assert attributes == {("heads", 1)}


def test_a_group_norm_with_many_groups_loses_whole_groups_exactly():
    graph = Graph.trace(make(ManyGroups), image())
    assert (graph.site("stem").size, graph.site("stem").step) == (4, 2)
    assert not graph.couplings["stem"].inexact
    assert {(a.module, a.name) for a in graph.couplings["stem"].attributes} == {("gn", "num_groups")}


def test_classifier_outputs_are_never_a_site():
    assert not any(
        m.role == "out" and m.name == "head"
        for s in ("stem", "one")
        for m in Graph.trace(make(Residual), image()).members(s)
    )


def test_several_inputs_and_outputs_in_a_dict_are_followed():
    inputs = image(), torch.randn(2, 1, 8, 8)
    assert [s.name for s in Graph.trace(make(TwoInputs), inputs).sites] == ["stem"]


def test_ignored_layers_keep_their_outputs_by_name_and_by_module():
    model = make(Residual)
    for ignored in ("two", model.two):
        assert [s.name for s in Graph.trace(model, image(), ignored_layers=[ignored]).sites] == ["one"]


def test_an_unknown_ignored_layer_is_named_with_the_nearest_one():
    with pytest.raises(ip.errors.UnknownName, match="did you mean 'two'"):
        Graph.trace(make(Residual), image(), ignored_layers=["twoo"])


def test_wrong_example_inputs_are_one_clear_error():
    with pytest.raises(ip.errors.Untraceable, match=r"example_inputs \[\(2, 4, 8, 8\)\]"):
        Graph.trace(make(Residual), torch.randn(2, 4, 8, 8))


def test_tracing_leaves_mode_gradients_and_random_state_alone():
    model = make(Residual).train()
    model.bn.eval()
    model.stem.weight.grad = torch.ones_like(model.stem.weight)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    Graph.trace(model, image())
    assert model.training
    assert model.one.training
    assert not model.bn.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(model.stem.weight.grad, torch.ones_like(model.stem.weight))


class Stubborn(Residual):
    """Its code names the width of the branch as a number that nothing can change."""

    def middle(self, x):
        y = torch.relu(self.one(x)).reshape(x.shape[0], 12, -1).reshape(x.shape[0], 12, *x.shape[2:])
        return torch.relu(x + self.bn(self.two(y)))


def test_a_site_that_breaks_the_forward_pass_is_quarantined_and_the_rest_is_kept():
    graph = Graph.trace(make(Stubborn), image())
    assert [s.name for s in graph.sites] == ["stem"]
    assert "invalid for input" in graph.quarantined["one"]


class Deceitful(Residual):
    """Runs at any width but not the same function: it scales by the number of channels it sees."""

    def middle(self, x):
        y = torch.relu(self.one(x))
        return torch.relu(x + self.bn(self.two(y * y.shape[1])))


def test_a_site_whose_removal_changes_the_function_is_quarantined():
    graph = Graph.trace(make(Deceitful), image())
    assert "differ" in graph.quarantined["one"]
    assert [s.name for s in graph.sites] == ["stem"]


class Unfollowed(Residual):
    def middle(self, x):
        return torch.cumsum(super().middle(x), 1)


def test_an_operation_that_is_not_followed_keeps_what_enters_it():
    assert [s.name for s in Graph.trace(make(Unfollowed), image()).sites] == ["one"]


def test_host_halves_are_swapped_and_ours_are_not():
    """The same network in torch-pruning computes something else afterwards."""
    model = make(Chunked)
    graph = Graph.trace(model, image())
    plan = keep(graph, {"wide": [0, 1, 2, 4]})
    assert ip.certificate_of(model, image(), plan).verdict == "exact"


def keep(graph: Graph, kept: dict[str, list[int]]) -> Plan:
    return Plan(tuple(KeepChannels.of(graph.couplings[name], units) for name, units in kept.items()))


@pytest.mark.parametrize("net", NETS)
def test_every_structure_is_followed_without_quarantine(net):
    graph = Graph.trace(make(net), image())
    assert graph.sites
    assert not graph.quarantined


@cache
def traced(net):
    return Graph.trace(make(net), image())


@pytest.mark.parametrize("net", NETS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(data=st.data())
def test_prices_are_counted_prices_and_pruned_is_masked_for_any_choice(net, data):
    model, graph = make(net), traced(net)
    kept = {
        site.name: data.draw(st.lists(st.integers(0, site.size - 1), min_size=1, unique=True), label=site.name)
        for site in graph.sites
    }
    plan = keep(graph, kept)
    counts = [len(kept[site.name]) for site in graph.sites]
    predicted = {unit: graph.cost(unit)(counts) for unit in ("macs", "params")}
    certificate = ip.certificate_of(model, image(), plan)
    assert certificate.verdict == ("not exact by design" if certificate.statistics else "exact"), str(certificate)
    ip.prune_(model, image(), plan, certify=False)
    measured = ip.measure(model, image())
    assert (measured.macs, measured.params) == (predicted["macs"], predicted["params"])


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "mobilenetv3_small_050",
        "vit_tiny_patch16_224",
        "convnext_atto",
        pytest.param("densenet121", marks=pytest.mark.slow),
    ],
)
def test_price_of_the_whole_model_is_what_torch_counts(name):
    model = timm.create_model(name).eval().requires_grad_(False)
    x = torch.randn(1, 3, 224 if "vit" in name else 64, 224 if "vit" in name else 64)
    graph = Graph.trace(model, x, verify=False)
    whole = [site.size for site in graph.sites]
    assert 2 * graph.cost("macs")(whole) == torch_flops(model, x) == 2 * ip.measure(model, x).macs
    assert graph.cost("params")(whole) == sum(p.numel() for p in model.parameters())


def test_num_heads_ties_the_channels_of_heads_that_are_not_found():

    model = make(Residual)
    graph = Graph.trace(model, image(), num_heads={model.one: 3})
    assert graph.site("one").size == 3
