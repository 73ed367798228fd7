"""The walk over a group, the merging of votes and the scales they are put on."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
import torch_pruning as tp
from hypothesis import given
from hypothesis import strategies as st
from tests.importance.coupled_nets import NETS, groups_of, traced
from torch import nn

from infoprune.errors import BadWeights
from infoprune.importance import Importance, IndependenceImportance, filters
from infoprune.importance.base import kernels_of, members_of
from infoprune.importance.normalisation import normalise
from infoprune.importance.reduction import reduce_votes


@dataclass(frozen=True)
class FirstWeight(Importance):
    """A number that tells every index of every scored layer apart."""

    def score(self, member):
        return filters(member)[:, 0, 0][member.index] if member.role in ("out", "depthwise") else None


@dataclass(frozen=True)
class WrongLength(Importance):
    def score(self, member):
        return torch.ones(1)


@dataclass(frozen=True)
class Mute(Importance):
    def score(self, member):
        return None


REDUCERS = {
    "mean": lambda votes: sum(votes) / len(votes),
    "sum": sum,
    "max": max,
    "prod": lambda votes: torch.tensor(votes).prod().item(),
    "first": lambda votes: votes[0],
}


def merged_slowly(group, reduction):
    """By hand, an index at a time."""
    votes = {index: [] for index in group[0].idxs}
    for item in group:
        layer, into = item.dep.layer, item.dep.pruning_fn.__name__ == "prune_in_channels"
        if not isinstance(layer, nn.Linear | nn.modules.conv._ConvNd) or into:
            continue
        turned = isinstance(layer, nn.modules.conv._ConvTransposeNd)
        weight = layer.weight.transpose(0, 1) if turned else layer.weight
        for index, root in zip(item.idxs, item.root_idxs, strict=True):
            votes[root].append(weight[index].flatten()[0].item())
    known = {index: REDUCERS[reduction](values) for index, values in votes.items() if values}
    rest = sum(known.values()) / len(known)
    return torch.tensor([known.get(index, rest) for index in group[0].idxs])


@pytest.mark.parametrize("reduction", ["mean", "sum", "max", "prod"])
@pytest.mark.parametrize("kind", sorted(NETS))
def test_each_unit_gets_the_votes_of_the_indices_it_takes_along(kind, reduction):
    for group in groups_of(*NETS[kind]()):
        torch.testing.assert_close(FirstWeight(reduction=reduction)(group), merged_slowly(group, reduction))


def test_the_first_reduction_takes_the_first_layer_that_reaches_a_unit():
    group = next(g for g in groups_of(*NETS["residual"]()) if len(g[0].idxs) == 8)
    torch.testing.assert_close(FirstWeight(reduction="first")(group), merged_slowly(group, "first"))


def test_roles_are_told_apart():
    net, inputs = NETS["depthwise"]()
    graph = traced(net, inputs)
    group = graph.get_pruning_group(net[0], tp.prune_conv_out_channels, list(range(8)))
    roles = {(member.name, member.role) for member in members_of(group)}
    assert roles == {("0", "out"), ("1", "depthwise"), ("2", "norm"), ("3", "norm"), ("4", "in")}


def test_a_bare_parameter_is_a_member():
    net, inputs = NETS["parameter"]()
    graph = tp.DependencyGraph().build_dependency(net, inputs, unwrapped_parameters=[(net.gamma, 0)])
    group = graph.get_pruning_group(net.stem, tp.prune_linear_out_channels, [4, 2])
    [gamma] = [member for member in members_of(group) if member.role == "parameter"]
    assert gamma.name == "gamma"
    assert gamma.index.tolist() == [4, 2]
    assert gamma.root.tolist() == [0, 1]


def test_flattened_inputs_repeat_their_root():
    net, inputs = NETS["flatten"]()
    graph = traced(net, inputs)
    group = graph.get_pruning_group(net[0], tp.prune_conv_out_channels, [3, 1])
    member = next(member for member in members_of(group) if member.role == "in")
    assert member.index.tolist() == [12, 13, 14, 15, 4, 5, 6, 7]
    assert member.root.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_without_the_host_s_graph_the_node_names_the_layer():
    net, inputs = NETS["residual"]()
    group = next(iter(groups_of(net, inputs)))
    names = {member.name for member in members_of(group)}
    group._DG = None
    assert {member.name for member in members_of(group)} == names


@pytest.mark.parametrize(
    "spoil",
    [
        lambda group: group[1].idxs.append(0),
        lambda group: group[1].root_idxs.__setitem__(0, 99),
        lambda group: group[0].idxs.__setitem__(0, 1),
        lambda group: group[0].idxs.__setitem__(0, -1),
    ],
    ids=["lengths differ", "a root that is not there", "a root twice", "a negative index"],
)
def test_contradicting_indices_give_none(spoil):
    net, inputs = NETS["residual"]()
    group = traced(net, inputs).get_pruning_group(net.stem, tp.prune_conv_out_channels, list(range(8)))
    spoil(group)
    assert FirstWeight()(group) is None


def test_a_group_nobody_scores_gets_none():
    assert Mute()(next(iter(groups_of(*NETS["concat"]())))) is None


def test_a_score_of_the_wrong_length_is_an_error_that_names_the_layer():
    with pytest.raises(ValueError, match=r"WrongLength scored \(1,\) units of .* \(\d+,\)"):
        WrongLength()(next(iter(groups_of(*NETS["concat"]()))))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_bad_weights_name_the_layer(value):
    net, inputs = NETS["residual"]()
    net.branch.weight.data[3, 1, 0, 0] = value
    with pytest.raises(BadWeights, match="branch"):
        [IndependenceImportance()(group) for group in groups_of(net, inputs)]


def test_huge_but_finite_weights_are_not_called_bad():
    layer = nn.Linear(4, 4)
    layer.weight.data.fill_(3e38)
    assert kernels_of(layer, "huge").isfinite().all()


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_transposed_filter_is_what_one_output_channel_sees(groups, dim):
    kind = [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d][dim - 1]
    layer = kind(8, 4, 3, groups=groups, bias=False)
    weights = kernels_of(layer, "layer")
    assert weights.shape == (4, 8 // groups, 3**dim)
    layer.weight.data.zero_()
    layer.weight.data[0, 0] = 1.0
    assert kernels_of(layer, "layer")[0, 0].sum() == 3**dim


def test_half_precision_is_scored_in_single():
    layer = nn.Linear(4, 4).half()
    assert kernels_of(layer, "half").dtype == torch.float32


def test_unreached_units_get_the_mean_of_the_others():
    merged = reduce_votes([(torch.tensor([0, 2]), torch.tensor([1.0, 3.0]))], 3, "max")
    assert merged.tolist() == [1.0, 2.0, 3.0]


def test_double_votes_stay_double():
    assert reduce_votes([(torch.tensor([0]), torch.ones(1, dtype=torch.float64))], 1, "mean").dtype == torch.float64


WORDS = ["mean", "sum", "max", "standarization", "gaussian", "lamp", "sentinel_0.5", None]
scores = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12).map(torch.tensor)


@pytest.mark.parametrize("word", WORDS)
@given(scores=scores)
def test_normalising_keeps_order_and_stays_finite(word, scores):
    normal = normalise(scores, word)
    assert normal.isfinite().all()
    order = scores.sort(stable=True).indices
    slack = 1e-5 * normal.abs().max()
    assert (normal[order].diff() >= -slack).all()
    for value in scores.unique():
        assert len(normal[scores == value].unique()) == 1


@pytest.mark.parametrize("word", ["mean", "sum", "max", "standarization", "gaussian", "lamp", "sentinel_0.5"])
def test_the_host_s_words_mean_what_they_mean_there(word):
    scores = torch.tensor([4.0, 1.0, 3.0, 2.5])
    host = tp.importance.GroupMagnitudeImportance()._normalize(scores.clone(), word)
    if word.startswith("sentinel"):  # the host indexes the scores by a rank's place twice over
        host = scores / scores.sort().values[2]
    torch.testing.assert_close(normalise(scores, word), host)


def test_a_function_normalises_too():
    assert normalise(torch.tensor([1.0, 2.0]), lambda s: -s).tolist() == [-1.0, -2.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": "meen"}, "did you mean 'mean'"),
        ({"normalizer": "standardization"}, "did you mean 'standarization'"),
        ({"normalizer": "sentinel_2"}, "sentinel_0.5"),
    ],
)
def test_unknown_words_are_refused_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        FirstWeight(**options)


def test_groups_built_by_hand_need_only_the_host_s_fields():
    layer = nn.Linear(3, 4)
    node = SimpleNamespace(module=layer, name="fc (Linear)")
    dep = SimpleNamespace(target=node, handler=tp.prune_linear_out_channels)
    item = SimpleNamespace(dep=dep, idxs=[3, 0], root_idxs=[3, 0])
    torch.testing.assert_close(FirstWeight()([item]), layer.weight.detach()[[3, 0], 0])
