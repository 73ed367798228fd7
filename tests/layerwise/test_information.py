import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet18

import infoprune as ip
from infoprune.errors import StaleObservations, UnusableData
from infoprune.layerwise import layerwise
from infoprune.layerwise.base import writers_of


def batches(count=4, size=12, labels=True):
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(size, 3, 32, 32, generator=generator) for _ in range(count)]
    return [(x, torch.randint(3, (size,), generator=generator)) for x in inputs] if labels else inputs


@pytest.fixture(scope="module")
def traced():
    torch.manual_seed(0)
    model = resnet18(num_classes=5).eval()
    graph = ip.Graph.trace(model, torch.randn(1, 3, 32, 32), verify=False)
    return graph, ip.observe(model, batches(), progress=False)


FACTORIES = {
    "nhsic": ip.layerwise.nhsic,
    "nhsic_relevance": ip.layerwise.nhsic_relevance,
    "bottleneck": ip.layerwise.bottleneck,
}
every_factory = pytest.mark.parametrize("name", sorted(FACTORIES))


def chain(width=8):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 6, 3, padding=1), nn.ReLU(),
        nn.Conv2d(6, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 4),
    )  # fmt: skip


def table_of(graph, seen):
    """nHSIC between the layers that write to a site, and the sites' layers, spelled out."""
    writers = {site.name: writers_of(graph, site.name) for site in graph.sites}
    layers = [name for names in writers.values() for name in names]
    nhsic = seen.compute().value
    rows = [seen.row(name) for name in layers]
    return writers, layers, nhsic, rows


def test_equation_9_to_the_letter(traced):
    graph, seen = traced
    writers, layers, nhsic, rows = table_of(graph, seen)
    beta = 0.7
    by_layer = {
        name: float(torch.exp(-beta * sum(nhsic[row, other] for other in rows if other != row)))
        for name, row in zip(layers, rows, strict=True)
    }
    expected = {site: sum(by_layer[name] for name in names) for site, names in writers.items()}
    assert ip.layerwise.nhsic(seen, beta=beta, scale="printed")(graph) == pytest.approx(expected, rel=1e-9)


def test_shares_are_the_printed_weights_over_their_total(traced):
    graph, seen = traced
    printed, shares = (np.array([*ip.layerwise.nhsic(seen, scale=s)(graph).values()]) for s in ("printed", "shares"))
    np.testing.assert_allclose(shares, printed / printed.sum())
    assert shares.sum() == pytest.approx(1)


def test_shares_do_not_underflow(traced):
    graph, seen = traced
    weights = ip.layerwise.nhsic(seen, beta=1e4)(graph)
    assert sum(weights.values()) == pytest.approx(1)


def test_with_beta_zero_sites_weigh_as_uniform_does(traced):
    graph, seen = traced
    assert ip.layerwise.nhsic(seen, beta=0, scale="printed")(graph) == pytest.approx(ip.layerwise.uniform()(graph))


def test_equation_3_to_the_letter(traced):
    graph, seen = traced
    writers, layers, nhsic, rows = table_of(graph, seen)
    x, y, beta, relevance = seen.companion("input"), seen.companion("output"), 0.01, 2.0
    by_layer = {}
    for name, row in zip(layers, rows, strict=True):
        terms = [nhsic[x, row] + nhsic[o, row] - relevance * nhsic[row, y] for o in rows if o != row]
        by_layer[name] = float(torch.exp(-beta * sum(terms)))
    expected = {site: sum(by_layer[name] for name in names) for site, names in writers.items()}
    found = ip.layerwise.bottleneck(seen, beta=beta, relevance=relevance, target="output", scale="printed")(graph)
    assert found == pytest.approx(expected, rel=1e-9)


def test_relevance_is_the_dependence_with_the_target(traced):
    graph, seen = traced
    writers, _, nhsic, _ = table_of(graph, seen)
    y = seen.companion("output")
    importance = ip.layerwise.nhsic_relevance(seen, target="output")
    found, errors = importance(graph), importance.errors(graph)
    for site, names in writers.items():
        plain = sum(float(nhsic[seen.row(name), y]) for name in names)
        assert found[site] == pytest.approx(max(plain, errors[site]))


def test_more_relevant_layers_weigh_more():
    """The first convolution sees the label's channel; what the second makes of noise is not relevant."""

    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.signal, self.noise = nn.Conv2d(1, 4, 1), nn.Conv2d(1, 4, 1)
            self.fc = nn.Linear(8, 3)

        def forward(self, x):
            both = torch.cat([self.signal(x[:, :1]), self.noise(x[:, 1:])], 1)
            return self.fc(both.mean((-2, -1)))

    generator = torch.Generator().manual_seed(0)
    data = []
    for _ in range(8):
        y = torch.randint(3, (32,), generator=generator)
        x = torch.randn(32, 2, 3, 3, generator=generator)
        x[:, 0] = x[:, 0] / 4 + y[:, None, None]
        data.append((x, y))
    model = Forked()
    seen = ip.observe(model, data, progress=False)
    graph = ip.Graph.trace(model, data[0][0])
    weights = ip.layerwise.nhsic_relevance(seen)(graph)
    assert weights["signal"] > 0.5 > 10 * weights["noise"]


@every_factory
def test_weights_and_errors_name_every_site(traced, name):
    graph, seen = traced
    importance = FACTORIES[name](seen)
    weights, errors = importance(graph), importance.errors(graph)
    assert list(weights) == list(errors) == [site.name for site in graph.sites]
    assert all(weight >= 0 for weight in weights.values())
    assert all(error > 0 for error in errors.values())


@every_factory
def test_is_registered(name):
    assert layerwise[name] is FACTORIES[name]


@every_factory
def test_a_single_block_of_samples_has_no_error(name):
    model = chain()
    seen = ip.observe(model, batches(1), progress=False)
    importance = FACTORIES[name](seen)
    graph = ip.Graph.trace(model, torch.randn(1, 3, 8, 8))
    assert all(np.isnan(error) for error in importance.errors(graph).values())
    assert all(np.isfinite(weight) for weight in importance(graph).values())


def test_standard_errors_are_those_of_repeated_draws():
    """The scatter of the weights over independent data sets is what a single one says it is."""
    model = chain()
    graph = ip.Graph.trace(model, torch.randn(1, 3, 8, 8))
    generator = torch.Generator().manual_seed(1)
    values, errors = [], []
    for _ in range(24):
        data = [torch.randn(16, 3, 8, 8, generator=generator) for _ in range(16)]
        importance = ip.layerwise.nhsic(ip.observe(model, data, progress=False), scale="printed")
        values.append([*importance(graph).values()])
        errors.append([*importance.errors(graph).values()])
    ratio = np.mean(errors, 0) / np.std(values, 0, ddof=1)
    assert ((ratio > 0.6) & (ratio < 1.7)).all()  # the scatter itself is known to 15 %


@every_factory
def test_a_plan_takes_the_weights(name):
    model = chain()
    seen = ip.observe(model, batches(), progress=False)
    plan = ip.plan(
        model, torch.randn(1, 3, 8, 8), ip.importance.IndependenceImportance(),
        layer_importance=FACTORIES[name](seen), budgets=[ip.budgets.macs(keep=0.5)],
    )  # fmt: skip
    assert plan.edits


# ----------------------------------------------------------------------------------------- bad input


@every_factory
def test_a_changed_model_is_refused(name):
    seen = ip.observe(chain(), batches(), progress=False)
    graph = ip.Graph.trace(chain(width=7), torch.randn(1, 3, 8, 8))
    with pytest.raises(StaleObservations, match="0 was observed with a weight of shape"):
        FACTORIES[name](seen)(graph)


@every_factory
def test_another_model_is_refused(name, traced):
    with pytest.raises(StaleObservations, match="never observed"):
        FACTORIES[name](traced[1])(ip.Graph.trace(chain(), torch.randn(1, 3, 8, 8)))


@pytest.mark.parametrize("name", ["nhsic_relevance", "bottleneck"])
def test_missing_labels_are_named_at_once(name):
    seen = ip.observe(chain(), batches(labels=False), progress=False)
    with pytest.raises(UnusableData, match="inputs alone"):
        FACTORIES[name](seen)


@every_factory
def test_constant_activations_are_named(name):
    model = chain()
    with torch.no_grad():
        model[2].weight.zero_()
    seen = ip.observe(model, batches(), progress=False)
    graph = ip.Graph.trace(model, torch.randn(1, 3, 8, 8))
    with pytest.raises(UnusableData, match=r"^2, 4 .2 in all. did not vary"):
        FACTORIES[name](seen)(graph)


def test_a_module_that_is_never_called_counts_as_the_mean_of_the_others():
    class Bypass(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.rest = nn.Conv2d(3, 8, 3), chain()[2:]

        def forward(self, x):
            return self.rest(nn.functional.conv2d(x, self.first.weight, self.first.bias))

    model = Bypass()
    seen = ip.observe(model, batches(), progress=False)
    graph = ip.Graph.trace(model, torch.randn(1, 3, 8, 8))
    weights = ip.layerwise.nhsic(seen, scale="printed")(graph)
    assert weights["first"] == pytest.approx((weights["rest.2"] + weights["rest.4"]) / 2)


@pytest.mark.parametrize("options", [{"beta": -1}, {"beta": float("nan")}, {"scale": "log"}])
def test_bad_options_are_refused(traced, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ip.layerwise.nhsic(traced[1], **options)
