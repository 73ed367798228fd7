"""Channels beside labels: energy and HSIC of responses against references nobody here wrote, and their evidence."""

from itertools import combinations

import dcor
import numpy as np
import pytest
import torch
import torch_pruning as tp
from sklearn.metrics.pairwise import linear_kernel
from torch import nn

import infoprune as ip
from infoprune.importance import EnergyImportance, HSICImportance
from infoprune.observe.responses import CAPACITY

BOTH = pytest.mark.parametrize("importance", [EnergyImportance, HSICImportance])


class Net(nn.Module):
    """A convolution, tokens through a linear layer, and a classifier."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.token = nn.Linear(6, 5)
        self.unused = nn.Linear(3, 3)  # as wide as the pictures, which nothing shrinks
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        return self.fc(self.token(self.conv(x).relu().flatten(2).mT).relu().mean(1))


def data(size=60, classes=3, seed=0, batch=25):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (size,), generator=generator)
    x = torch.randn(size, 3, 5, 5, generator=generator) + 0.5 * labels[:, None, None, None]
    return list(zip(x.split(batch), labels.split(batch), strict=True))


@pytest.fixture
def net():
    return Net().eval()


def scores(net, importance, layer):
    graph = tp.DependencyGraph().build_dependency(net, torch.zeros(1, 3, 5, 5), verbose=False)
    module = net.get_submodule(layer)
    prune = tp.prune_linear_out_channels if isinstance(module, nn.Linear) else tp.prune_conv_out_channels
    out = module.out_features if isinstance(module, nn.Linear) else module.out_channels
    return importance(graph.get_pruning_group(module, prune, list(range(out))))


def responses_by_hand(net, layer, batches):
    """(mean, root mean square) of each map: samples x channels x 2, and the labels."""
    kept = []
    handle = net.get_submodule(layer).register_forward_hook(lambda m, a, out: kept.append(out.detach().double()))
    with torch.no_grad():
        for x, _ in batches:
            net(x)
    handle.remove()
    out = torch.cat(kept)
    out = out.flatten(2) if out.dim() == 4 else out.mT
    return torch.stack([out.mean(-1), out.square().mean(-1).sqrt()], -1), torch.cat([y for _, y in batches])


def largest_energy(responses, labels, *, share):
    groups = [responses[labels == c] for c in np.unique(labels)]
    found = []
    for x, y in combinations(groups, 2):
        across = np.linalg.norm(x[:, None] - y[None], axis=-1).mean()
        found.append(dcor.energy_distance(x, y) / (2 * across if share else 1))
    return max(found)


@pytest.mark.parametrize("layer", ["conv", "token"])
@pytest.mark.parametrize("statistic", ["energy", "coefficient"])
def test_energy_is_that_of_dcor_for_every_channel(net, layer, statistic):
    batches = data()
    seen = ip.observe(net, batches, progress=False)
    responses, labels = responses_by_hand(net, layer, batches)
    share = statistic == "coefficient"
    expected = [largest_energy(r.numpy(), labels.numpy(), share=share) for r in responses.movedim(1, 0)]
    found = scores(net, EnergyImportance(seen, statistic=statistic), layer)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)  # activations are in single precision


@pytest.mark.parametrize("layer", ["conv", "token"])
def test_hsic_is_that_of_centred_kernels(net, layer):
    batches = data()
    seen = ip.observe(net, batches, progress=False)
    responses, labels = responses_by_hand(net, layer, batches)
    n = len(labels)
    centring = np.eye(n) - 1 / n
    same = centring @ (labels[:, None] == labels[None]).double().numpy() @ centring
    kernels = [centring @ linear_kernel(r.numpy()) @ centring for r in responses.movedim(1, 0)]
    expected = [(k * same).sum() for k in kernels]
    found = scores(net, HSICImportance(seen, normalised=False), layer)
    np.testing.assert_allclose(found.numpy(), np.array(expected) / (n - 1) ** 2, rtol=1e-4)
    sizes = [np.linalg.norm(k) * np.linalg.norm(same) for k in kernels]
    found = scores(net, HSICImportance(seen), layer)
    np.testing.assert_allclose(found.numpy(), np.array(expected) / sizes, rtol=1e-4)


@BOTH
def test_the_channel_that_knows_the_label_is_worth_most_and_a_constant_one_nothing(importance):
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1))
    net[0].weight.data.zero_()
    net[0].bias.data.copy_(torch.tensor([0.0, 0.0, 0.7, 0.0]))
    for channel, source in ((0, 1), (1, 0), (3, 2)):
        net[0].weight.data[channel, source] = 1
    labels = torch.arange(120) % 4
    x = torch.randn(120, 3, 5, 5)
    x[:, 0] += 2.0 * labels[:, None, None]  # read by channel 1
    x[:, 2] *= 1 + labels[:, None, None]  # the same mean in all classes, another spread: read by channel 3
    seen = ip.observe(net, [(x, labels)], progress=False)
    found = scores_of_first(net, importance(seen))
    assert found.argmax() == 1
    assert found[2] == 0
    assert found[3] > 3 * found[0]


def scores_of_first(net, importance):
    graph = tp.DependencyGraph().build_dependency(net, torch.zeros(1, 3, 5, 5), verbose=False)
    return importance(graph.get_pruning_group(net[0], tp.prune_conv_out_channels, [0, 1, 2, 3]))


@BOTH
def test_a_plan_is_made_and_carried_out_with_it(net, importance):
    seen, x = ip.observe(net, data(), progress=False), torch.zeros(1, 3, 5, 5)
    plan = ip.plan(net, x, importance(seen), budgets=[ip.budgets.macs(keep=0.5)])
    assert "Observations" not in str(plan.made_by)
    ip.prune_(net, x, plan)
    with pytest.raises(ip.errors.StaleObservations, match="observe"):
        ip.plan(net, x, importance(seen), budgets=[ip.budgets.macs(keep=0.5)])


def test_rare_classes_are_left_out(net):
    batches = data(size=50)
    x, y = torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])
    with_rare = torch.cat([y, torch.tensor([7, 8, 8])])
    far = torch.cat([x, 100 + torch.randn(3, 3, 5, 5)])
    rare = ip.observe(net, [(far, with_rare)], progress=False)
    usual = ip.observe(net, [(x, y)], progress=False)
    torch.testing.assert_close(
        scores(net, EnergyImportance(rare), "conv"), scores(net, EnergyImportance(usual), "conv")
    )


def test_responses_stay_bounded_and_match_their_labels(net):
    batches = data(size=700, batch=100)
    kept = ip.observe(net, batches, progress=False).responses
    assert kept.labels.shape == (CAPACITY,)
    assert kept.of("conv").shape == (6, CAPACITY, 2)
    assert kept.of("fc").shape == (3, CAPACITY, 1)
    by_hand, labels = responses_by_hand(net, "conv", batches)
    place = (kept.of("conv")[0, :, 0, None].double() - by_hand[:, 0, 0]).abs().argmin(1)
    assert torch.equal(labels[place], kept.labels)


def test_merged_workers_hold_what_one_pass_holds(net):
    batches = data(size=80, batch=20)
    whole = ip.observe(net, batches, progress=False)
    parts = [ip.observe(net, some, progress=False) for some in (batches[:2], batches[2:])]
    merged = parts[0].merge(parts[1]).responses
    torch.testing.assert_close(merged.of("token"), whole.responses.of("token"))
    assert torch.equal(merged.labels, whole.responses.labels)


def test_responses_are_saved_with_the_observations(net, tmp_path):
    seen = ip.observe(net, data(), progress=False)
    seen.save(tmp_path / "seen.safetensors")
    again = ip.Observations.load(tmp_path / "seen.safetensors")
    expected = scores(net, EnergyImportance(seen), "conv")
    assert torch.equal(scores(net, EnergyImportance(again), "conv"), expected)


def test_a_layer_called_twice_answers_with_all_its_places():
    layer = nn.Linear(4, 3)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x[:, 0]) + self.layer(x[:, 1])

    x = torch.randn(20, 2, 4)
    seen = ip.observe(Twice(), [(x, torch.arange(20) % 2)], progress=False)
    out = layer(x).detach()
    expected = torch.stack([out.mean(1), out.square().mean(1).sqrt()], -1)
    torch.testing.assert_close(seen.responses.of("layer").movedim(0, 1), expected)


# ------------------------------------------------------------------------------------------- bad input


@BOTH
@pytest.mark.parametrize("labels", [None, torch.rand(24), torch.zeros(24, 2, dtype=torch.long)])
def test_labels_that_are_no_classes_are_refused(net, importance, labels):
    x = torch.randn(24, 3, 5, 5)
    seen = ip.observe(net, [x if labels is None else (x, labels)], progress=False)
    with pytest.raises(ip.InfopruneError, match="no class labels"):
        importance(seen)


@BOTH
def test_too_few_samples_a_class_are_refused(net, importance):
    seen = ip.observe(net, [(torch.randn(24, 3, 5, 5), torch.arange(24))], progress=False)
    with pytest.raises(ip.InfopruneError, match="of 24 classes"):
        importance(seen)


@BOTH
def test_other_evidence_is_refused(importance):
    with pytest.raises(TypeError, match="pass what"):
        importance({"conv": 1.0})


def test_an_unknown_statistic_is_refused(net):
    seen = ip.observe(net, data(), progress=False)
    with pytest.raises(ValueError, match="did you mean 'energy'"):
        EnergyImportance(seen, statistic="energies")


def test_an_uncalled_layer_says_nothing(net):
    seen = ip.observe(net, data(), progress=False)
    unused = ip.graph.member.Member("unused", net.unused, "out", torch.arange(2), torch.arange(2))
    assert EnergyImportance(seen).score(unused) is None
