"""What torch-pruning may rely on, for every registered importance and every kind of group."""

import copy
import warnings

import pytest
import torch
import torch_pruning as tp
from tests.importance.coupled_nets import NETS, groups_of, pruner, traced

import infoprune as ip
from infoprune.errors import StaleObservations
from infoprune.importance import Importance, importances

#: name -> how to build it for (net, inputs), for classes whose evidence is a constructor argument.
EVIDENCE = {
    "conditional": lambda net, inputs: ip.importance.ConditionalImportance(moments_of(net, inputs)),
    "energy": lambda net, inputs: ip.importance.EnergyImportance(observed(net, inputs)),
    "hsic": lambda net, inputs: ip.importance.HSICImportance(observed(net, inputs)),
    "mutual_information": lambda net, inputs: ip.importance.MutualInformationImportance(tasks_of(net, inputs)),
}


def observed(net, inputs):
    x = torch.randn(24, *inputs[0].shape[1:])
    return ip.observe(net, [(x, torch.arange(24) % 3)], progress=False)


def moments_of(net, inputs):
    return ip.observe(net, [torch.randn(24, *inputs[0].shape[1:])], progress=False, moments=True)


def tasks_of(net, inputs):
    x = torch.randn(24, *inputs[0].shape[1:])
    return ip.split.observe_tasks(net, [x], clusters=3, progress=False)


every_importance = pytest.mark.parametrize("name", sorted(importances))
every_net = pytest.mark.parametrize("kind", sorted(NETS))
#: The host removes unequal parts of a chunked layer, whatever the scores.
every_prunable_net = pytest.mark.parametrize("kind", sorted(NETS.keys() - {"split"}))


def build(name, net, inputs):
    if importances[name].about.needs_data and name not in EVIDENCE:
        pytest.fail(f"tell EVIDENCE in this file how to build {name!r}")
    return EVIDENCE.get(name, lambda *_: importances[name]())(net, inputs)


@every_importance
def test_is_a_host_importance_whose_call_is_the_base_s(name):
    assert issubclass(importances[name], tp.importance.Importance)
    assert importances[name].__call__ is Importance.__call__


@every_importance
def test_says_what_it_is(name):
    about = importances[name].about
    assert about.paper != "-"
    assert about.cost


@every_importance
@every_net
def test_scores_every_root_index_of_every_group(name, kind):
    net, inputs = NETS[kind]()
    importance = build(name, net, inputs)
    scored = 0
    for group in groups_of(net, inputs):
        scores = importance(group)
        if scores is None:
            continue
        scored += 1
        assert scores.shape == (len(group[0].idxs),)
        assert scores.is_floating_point()
        assert scores.is_contiguous()
        assert scores.isfinite().all()
    assert scored


@every_importance
@every_net
def test_leaves_model_and_group_alone_and_repeats_itself(name, kind):
    net, inputs = NETS[kind]()
    importance = build(name, net, inputs)
    before = copy.deepcopy(net.state_dict())
    attributes = {n: set(m.__dict__) for n, m in net.named_modules()}
    for group in groups_of(net, inputs):
        items = [(list(item.idxs), list(item.root_idxs)) for item in group]
        first, second = importance(group), importance(group)
        assert (first is None and second is None) or torch.equal(first, second)
        assert items == [(item.idxs, item.root_idxs) for item in group]
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert attributes == {n: set(m.__dict__) for n, m in net.named_modules()}


@every_importance
@pytest.mark.parametrize("idxs", [[2, 6, 1], [5], [7, 6, 5, 4, 3, 2, 1, 0]])
def test_scores_a_subset_in_the_order_asked_for(name, idxs):
    net, inputs = NETS["residual"]()
    importance = build(name, net, inputs)
    graph = traced(net, inputs)
    whole = importance(graph.get_pruning_group(net.stem, tp.prune_conv_out_channels, list(range(8))))
    part = importance(graph.get_pruning_group(net.stem, tp.prune_conv_out_channels, idxs))
    torch.testing.assert_close(part, whole[idxs])


@every_importance
@every_net
def test_an_inconsistent_group_gets_none(name, kind):
    net, inputs = NETS[kind]()
    importance = build(name, net, inputs)
    for group in groups_of(net, inputs):
        group[0].idxs[-1] = 10_000
        assert importance(group) is None


@every_importance
def test_a_member_without_roots_is_passed_over(name):
    net, inputs = NETS["residual"]()
    importance = build(name, net, inputs)
    for group in groups_of(net, inputs):
        for item in list(group)[1:]:
            item.root_idxs = [None] * len(item.idxs)
        scores = importance(group)
        assert scores is None or scores.isfinite().all()


@every_importance
@every_net
def test_needs_no_dependency_graph(name, kind):
    net, inputs = NETS[kind]()
    importance = build(name, net, inputs)
    for group in groups_of(net, inputs):
        known = importance(group)
        group._DG = None
        unknown = importance(group)
        assert (known is None and unknown is None) or torch.equal(known, unknown)


WAYS = {
    "local": {},
    "global": {"global_pruning": True},
    "isomorphic": {"global_pruning": True, "isomorphic": True},
    "round_to": {"round_to": 2},
    "iterative": {"iterative_steps": 3},
}


@every_importance
@every_prunable_net
@pytest.mark.parametrize("way", WAYS)
def test_drives_the_stock_pruner(name, kind, way):
    net, inputs = NETS[kind]()
    options = WAYS[way]
    host = pruner(net, inputs, build(name, net, inputs), pruning_ratio=0.5, **options)
    before = sum(p.numel() for p in net.parameters())
    host.step()
    if way == "iterative" and importances[name].about.needs_data:
        with pytest.raises(StaleObservations, match="observe"):  # the evidence is of the network as it was
            host.step()
        return
    for _ in range(options.get("iterative_steps", 1) - 1):
        host.step()
    assert net(*inputs).shape[1] == 5
    if way in ("local", "iterative"):
        assert sum(p.numel() for p in net.parameters()) < before


@every_importance
@every_prunable_net
def test_drives_the_stock_pruner_interactively(name, kind):
    net, inputs = NETS[kind]()
    host = pruner(net, inputs, build(name, net, inputs), pruning_ratio=0.5)
    for group in host.step(interactive=True):
        group.prune()
    assert net(*inputs).shape[1] == 5


@every_importance
def test_is_silent(name):
    net, inputs = NETS["depthwise"]()
    importance = build(name, net, inputs)
    groups = list(groups_of(net, inputs))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for group in groups:
            importance(group)
