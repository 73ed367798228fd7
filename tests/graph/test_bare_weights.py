"""Weights outside of the library's own layers are scored like those inside."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torch_pruning as tp
from tests.masked_by_hand import L2, prunes_right
from torch import nn
from torch.nn.utils import prune

import infoprune as ip
from infoprune.graph import Graph
from infoprune.graph.site_scores import score_sites
from infoprune.importance import CapacityIndependenceImportance


class Layers(nn.Module):
    """What the others are measured by."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(6, 12), nn.Linear(12, 10), nn.Linear(10, 3)

    def forward(self, x):
        return self.three(torch.relu(self.two(torch.relu(self.one(x)))))


class Bare(nn.Module):
    """The same with parameters, each used in another way."""

    def __init__(self, model):
        super().__init__()
        self.one = nn.Parameter(model.one.weight.detach().clone())
        self.two = nn.Parameter(model.two.weight.detach().t().clone())
        self.three = nn.Parameter(model.three.weight.detach().clone())
        self.a, self.b, self.c = (nn.Parameter(m.bias.detach().clone()) for m in (model.one, model.two, model.three))

    def forward(self, x):
        x = torch.relu(F.linear(x, self.one, self.a))
        x = torch.relu(x @ self.two + self.b)
        return torch.einsum("bi,oi->bo", x, self.three) + self.c


class Convolved(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.up = nn.Conv2d(3, 8, 3, padding=1), nn.ConvTranspose2d(8, 6, 2)
        self.out = nn.Conv2d(6, 4, 1)

    def forward(self, x):
        return self.out(torch.relu(self.up(torch.relu(self.stem(x)))))


class BareConvolved(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.stem, self.up = (nn.Parameter(m.weight.detach().clone()) for m in (model.stem, model.up))
        self.a, self.b = (nn.Parameter(m.bias.detach().clone()) for m in (model.stem, model.up))
        self.out = copy.deepcopy(model.out)

    def forward(self, x):
        x = torch.relu(F.conv2d(x, self.stem, self.a, padding=1))
        return self.out(torch.relu(F.conv_transpose2d(x, self.up, self.b)))


def scores(model, x, importance):
    return {name.split("#")[0]: found for name, found in score_sites(Graph.trace(model, x), importance).items()}


@pytest.mark.parametrize(
    "importance",
    [L2, CapacityIndependenceImportance(), CapacityIndependenceImportance(readers=True)],
    ids=["host", "ours", "ours with readers"],
)
def test_bare_weights_score_as_layers_do(importance):
    layers, x = Layers().eval(), torch.randn(2, 6)
    expected, found = scores(layers, x, importance), scores(Bare(layers).eval(), x, importance)
    assert list(found) == ["one", "two"]
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)


def test_bare_convolutions_score_as_layers_do():
    layers, x = Convolved().eval(), torch.randn(2, 3, 6, 6)
    for importance in (L2, CapacityIndependenceImportance()):
        expected, found = scores(layers, x, importance), scores(BareConvolved(layers).eval(), x, importance)
        assert list(found) == ["stem", "up"]
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)


def test_bare_weights_shrink():
    prunes_right(Bare(Layers()), torch.randn(2, 6), torch.randn(5, 6))
    prunes_right(BareConvolved(Convolved()), torch.randn(2, 3, 6, 6), torch.randn(1, 3, 9, 7))


def test_gradients_of_bare_weights_are_read():
    layers, x = Layers().eval(), torch.randn(4, 6)
    bare = Bare(layers)
    for model in (layers, bare):
        model(x).square().sum().backward()
    taylor = tp.importance.GroupTaylorImportance()
    expected, found = scores(layers, x, taylor), scores(bare, x, taylor)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4)


def test_the_transposed_layers_of_gpt_2_are_scored_and_shrink():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from transformers.pytorch_utils import Conv1D

    assert transformers
    layers = Layers().eval()
    model = nn.Sequential(Conv1D(12, 6), nn.ReLU(), Conv1D(10, 12), nn.ReLU(), copy.deepcopy(layers.three)).eval()
    for place, layer in ((0, layers.one), (2, layers.two)):
        model[place].weight.data, model[place].bias.data = layer.weight.data.t().clone(), layer.bias.data.clone()
    x = torch.randn(2, 6)
    for importance in (L2, CapacityIndependenceImportance()):
        expected, found = scores(layers, x, importance), scores(model, x, importance)
        assert list(found) == ["0", "2"]
        for here, there in zip(found.values(), expected.values(), strict=True):
            np.testing.assert_allclose(here, there, rtol=1e-6)
    prunes_right(model, x, torch.randn(2, 7, 6))
    assert model[0].nf == 12
    pruned = ip.prune_(model, x, ip.plan(model, x, L2, rates=0.5))
    assert (pruned[0].nf, pruned[2].nx, pruned[2].nf) == (6, 6, 5)


def test_a_mask_of_torch_is_cut_with_its_weight_and_what_it_hides_has_no_score():
    x = torch.randn(2, 6)
    masked = Layers().eval()
    plain = copy.deepcopy(masked)
    for name, amount in (("one", 0.3), ("two", 0.5)):
        prune.l1_unstructured(getattr(masked, name), "weight", amount)
        getattr(plain, name).weight.data = getattr(masked, name).weight.detach().clone()
    for importance in (L2, CapacityIndependenceImportance()):
        expected, found = scores(plain, x, importance), scores(masked, x, importance)
        assert list(found) == ["one", "two"]
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
    with torch.no_grad():
        masked(x)
    prunes_right(masked, x, torch.randn(5, 6))
    pruned = ip.prune_(masked, x, ip.plan(masked, x, L2, rates=0.5))
    assert pruned.one.weight.shape == pruned.one.weight_mask.shape == pruned.one.weight_orig.shape == (6, 6)
    assert (pruned.two.in_features, pruned.two.out_features) == (6, 5)
    with torch.no_grad():
        before = pruned(x)
    prune.remove(pruned.one, "weight")
    assert torch.equal(pruned(x), before)


def test_evidence_of_modules_is_used_beside_bare_weights():
    """A site that bare weights alone write to has no module that was observed."""

    class Mixed(Layers):
        def __init__(self):
            super().__init__()
            self.bare, self.last = nn.Parameter(torch.randn(6, 6) / 2), nn.Linear(3, 2)

        def forward(self, x):
            return self.last(torch.relu(super().forward(torch.relu(F.linear(x, self.bare)))))

    model = Mixed().eval()
    seen = ip.observe(model, [(torch.randn(64, 6), torch.arange(64) % 3)], progress=False)
    for importance in (ip.importance.EnergyImportance(seen), ip.importance.HSICImportance(seen)):
        assert set(scores(model, torch.randn(2, 6), importance)) == {"one", "two", "three"}
    graph = Graph.trace(model, torch.randn(2, 6))
    assert set(ip.layerwise.nhsic(seen)(graph)) == {site.name for site in graph.sites}
