import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import infoprune as ip
from infoprune.errors import StaleObservations, Untraceable, UnusableData
from infoprune.layerwise import curves as curves_function
from infoprune.layerwise import layerwise
from infoprune.layerwise.curves import alignment_loss, kullback_leibler, relative_error, shape_of

ORDER = ip.importance.IndependenceImportance()


def network():
    """The first site is written by noise-sized weights, so that losing it moves nothing."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1),
        nn.BatchNorm2d(12), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4),
    )  # fmt: skip
    nn.init.normal_(model[8].weight)
    return model.eval()


def batches(count=3, size=8):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, 3, 6, 6, generator=generator) for _ in range(count)]


def measured(model, loader=None, **options):
    return ip.layerwise.curves(model, batches() if loader is None else loader, ORDER, progress=False, **options)


def test_a_point_is_the_divergence_of_the_pruned_network_with_new_statistics():
    model, data = network(), batches()
    curves = measured(model, data, levels=(0.5,))
    plan = ip.plan(model, data[0], ORDER, rates={"3": 0.5})
    pruned, dense = ip.prune_(copy.deepcopy(model), data[0], plan), copy.deepcopy(model)
    for net in (pruned, dense):
        net.train()
        for norm in (net[1], net[4]):
            norm.reset_running_stats()
            norm.momentum = None
    with torch.no_grad():
        for x in data:
            pruned(x), dense(x)
        pruned.eval(), dense.eval()
        expected = np.mean([float(kullback_leibler(dense(x), pruned(x))) for x in data])
    [(share, divergence)] = curves.points("3")
    assert share == 0.5
    assert divergence == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("utility", [-1.0, -0.5, 0.0, 1.0])
def test_the_fit_is_least_squares_with_the_utility_s_shape(utility):
    model = network()
    curves = measured(model, utility=utility, trust=1.0)
    graph = ip.Graph.trace(model, batches()[0])
    for name, weight in curves(graph).items():
        shares, divergences = np.array(curves.points(name)).T
        shape = -np.log(shares) if utility == 0 else (1 - shares**utility) / utility
        assert weight == pytest.approx(np.linalg.lstsq(shape[:, None], divergences, rcond=None)[0][0])


def test_a_site_that_the_output_does_not_feel_weighs_nothing():
    class Muted(nn.Module):
        def __init__(self):
            super().__init__()
            self.loud, self.mute = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 1)
            self.fc = nn.Linear(16, 4)

        def forward(self, x):
            return self.fc(torch.cat([self.loud(x), 1e-4 * self.mute(x)], 1).mean((-2, -1)))

    model = Muted()
    weights = measured(model, trust=1.0)(ip.Graph.trace(model, batches()[0]))
    assert weights["mute"] < 1e-5 * weights["loud"]


class Residual(nn.Module):
    """A stream that two layers write to, and a branch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.stem, self.down, self.up = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 8, 1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x).relu()
        return self.fc((x + self.up(self.down(x).relu())).mean((-2, -1)))


def test_trust_goes_from_the_number_of_layers_to_the_curves_through_their_geometric_mean():
    model = Residual()
    graph = ip.Graph.trace(model, batches()[0])
    none, half, full = (measured(model, trust=trust)(graph) for trust in (0.0, 0.5, 1.0))
    assert none == {"stem": 2, "down": 1} == ip.layerwise.uniform()(graph)
    assert half == measured(model)(graph)
    for site, weight in half.items():
        assert weight == pytest.approx(math.sqrt(none[site] * full[site]))


def test_errors_cover_every_site_and_come_from_batches():
    model = network()
    graph = ip.Graph.trace(model, batches()[0])
    errors = measured(model).errors(graph)
    assert list(errors) == [site.name for site in graph.sites]
    assert all(error > 0 for error in errors.values())
    assert all(math.isnan(error) for error in measured(model, batches(1)).errors(graph).values())


def test_the_cost_is_two_passes_a_trial_and_two_for_the_whole_model():
    assert measured(network()).passes == 2 + 2 * 2 * 2  # sites, shares, passes
    assert measured(network(), levels=(0.2, 0.4, 0.6)).passes == 2 + 2 * 3 * 2


def test_only_the_first_samples_are_used():
    model = network()
    assert measured(model, batches(), samples=8).points("0") == measured(model, batches(1)).points("0")


def test_leaves_the_model_and_the_generator_alone():
    model = network().train()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    measured(model)
    torch.testing.assert_close(dict(model.state_dict()), dict(before), rtol=0, atol=0)
    torch.testing.assert_close(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())


def test_a_plan_takes_the_weights():
    model = network()
    plan = ip.plan(model, batches()[0], ORDER, layer_importance=measured(model), budgets=[ip.budgets.macs(keep=0.5)])
    assert plan.edits


def test_is_registered():
    assert layerwise["curves"] is curves_function


def test_divergences_are_zero_for_equal_outputs_and_positive_otherwise():
    a, b = torch.randn(2, 6, 5)
    for divergence in (kullback_leibler, relative_error, alignment_loss):
        assert float(divergence(a, a)) == pytest.approx(0, abs=1e-6)
        assert float(divergence(a, b)) > 0
    assert float(relative_error(a, a.mean(0).expand(6, 5))) == pytest.approx(1)
    assert float(alignment_loss(a, 3 * a + 1)) == pytest.approx(0, abs=1e-6)


def test_maps_are_compared_by_their_relative_error():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    by_default, by_name = measured(model), measured(model, divergence=relative_error)
    assert by_default.points("0") == by_name.points("0")


def test_the_shape_falls_to_zero_where_everything_is_kept():
    shares = torch.tensor([0.25, 0.5, 1.0])
    torch.testing.assert_close(shape_of(shares, -1.0), torch.tensor([3.0, 1.0, 0.0]))
    torch.testing.assert_close(shape_of(shares, 1.0), torch.tensor([0.75, 0.5, 0.0]))
    torch.testing.assert_close(shape_of(shares, 0.0), -shares.log())


def test_another_model_is_refused():
    other = nn.Sequential(nn.Conv2d(3, 9, 3), nn.ReLU(), nn.Conv2d(9, 4, 3))
    with pytest.raises(StaleObservations, match="0 has 9 units and was measured with 8"):
        measured(network())(ip.Graph.trace(other, batches()[0]))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"levels": ()}, "levels"),
        ({"levels": (0.5, 1.0)}, "levels"),
        ({"samples": 1}, "samples"),
        ({"trust": 1.5}, "trust is 1.5"),
        ({"loader": []}, "empty"),
    ],
)
def test_bad_input_is_one_clear_error(options, error):
    with pytest.raises(ValueError, match=error):
        measured(network(), **options)


def test_outputs_that_cannot_be_compared_are_told():
    with pytest.raises(UnusableData, match="cannot be compared"):
        measured(network(), divergence=lambda dense, pruned: torch.tensor(float("nan")))


def test_a_model_without_sites_is_told():
    with pytest.raises(Untraceable, match="no site"):
        measured(nn.Sequential(nn.Conv2d(3, 4, 1)))
