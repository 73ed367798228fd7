import importlib
import json

import numpy as np
import pytest
import torch
from torch import nn

import infoprune as ip
from infoprune.budgets.latency import cache_directory, non_negative_fit
from infoprune.budgets.layer_calls import calls_of
from infoprune.timing import milliseconds

model_of_latency = importlib.import_module("infoprune.budgets.latency")


def entries():
    return sorted(cache_directory().glob("*.json"))


def latency(**options):
    return ip.budgets.latency(progress=False, **options)


def test_is_a_price_of_every_net(net):
    model, x = net
    graph = ip.Graph.trace(model, x, verify=False)
    cost = latency(keep=0.5).cost(graph)
    sizes = np.array([site.size for site in graph.sites])
    assert cost.sites == len(sizes)
    assert cost(sizes) >= cost(np.maximum(1, sizes // 2)) > 0


def test_predicts_the_times_of_a_machine_without_noise(monkeypatch):
    """Layers take 1 ns a weight; the network takes twice that and half a millisecond."""
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Conv2d(64, 8, 3))

    def network_us(first, second):
        return 500 + 2e-3 * 9 * (3 * first + first * second + 8 * second)

    readings = np.array([[network_us(n, n) / 1e3 for n in (16, 32, 48, 64)]] * 5)
    monkeypatch.setattr(model_of_latency, "_time_us", lambda layer, x: 1e-3 * layer.weight.numel())
    monkeypatch.setattr(model_of_latency, "interleaved_ms", lambda *_, **__: readings)
    cost = latency(keep=0.5).cost(ip.Graph.trace(model, torch.randn(1, 3, 32, 32)))
    for counts in ([64, 64], [20, 40], [50, 7]):
        assert cost(counts) == pytest.approx(network_us(*counts), rel=0.01)


def test_is_measured_once(mixed, monkeypatch):
    model, x = mixed
    graph = ip.Graph.trace(model, x, verify=False)
    first = latency(keep=0.5).cost(graph)
    assert entries()
    monkeypatch.setattr(model_of_latency, "_time_us", None)
    monkeypatch.setattr(model_of_latency, "interleaved_ms", None)
    again = latency(keep=0.5).cost(graph)
    np.testing.assert_array_equal(again.coefficients, first.coefficients)


def test_other_threads_or_shapes_are_measured_anew():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    graph = ip.Graph.trace(model, torch.randn(1, 3, 8, 8))
    latency(keep=0.5).cost(graph)
    few = len(entries())
    latency(keep=0.5, batch=4).cost(graph)
    assert len(entries()) == 2 * few


@pytest.mark.parametrize("text", ["", "{}", '{"coefficients": "x"}', '{"coefficients": [1.0, -2.0]}', "[1]"])
def test_a_damaged_cache_is_measured_again(text):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    graph = ip.Graph.trace(model, torch.randn(1, 3, 8, 8))
    latency(keep=0.5).cost(graph)
    for path in entries():
        path.write_text(text)
    assert latency(keep=0.5).cost(graph)([8]) > 0
    assert all(json.loads(path.read_text())["coefficients"] for path in entries())


def test_the_cache_honours_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "infoprune" / "latency"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_directory().parts[-3:] == (".cache", "infoprune", "latency")


def test_layers_are_built_at_any_width(mixed):
    """What is timed is the layer's own code with a weight of the asked size."""
    model, x = mixed
    graph = ip.Graph.trace(model, x, verify=False)
    for call in calls_of(model, (x,)):
        shape = model_of_latency._Shape.of(call, graph)
        for width in shape.widths():
            layer, given = shape.build(*width, torch.device("cpu"))
            assert layer.weight.shape[:2] == width
            assert layer(given).shape[:1] == call.output[:1]
        assert layer(given).shape == call.output  # the last width is the full one


def test_a_non_negative_fit_finds_what_is_there():
    columns = np.random.default_rng(0).random((12, 3))
    np.testing.assert_allclose(non_negative_fit(columns, columns @ [2.0, 0.0, 5.0]), [2, 0, 5], atol=1e-9)
    assert min(non_negative_fit(columns, columns @ [2.0, -1.0, 5.0])) >= 0


def test_drifts_of_the_machine_do_not_reach_the_proportions():
    drift = np.exp(np.random.default_rng(0).normal(0, 1, (15, 1)))
    found = model_of_latency.typical(np.array([1.0, 2.0, 4.0]) * drift)
    np.testing.assert_allclose(found / found[-1], [0.25, 0.5, 1])


@pytest.mark.parametrize(
    ("amount", "expected"), [("8ms", 8), ("1.5s", 1500), ("800us", 0.8), (" .5 ms ", 0.5), (7, 7), (2.5, 2.5)]
)
def test_durations_are_read(amount, expected):
    assert milliseconds(amount) == pytest.approx(expected)


@pytest.mark.parametrize("amount", ["fast", "8", "8 minutes", "-3ms", ""])
def test_a_duration_that_is_none_is_refused(amount):
    with pytest.raises(ValueError, match="not a duration"):
        latency(at_most=amount)


def test_at_most_is_kept_in_microseconds():
    assert latency(at_most="8ms").at_most == 8000


@pytest.mark.parametrize("options", [{}, {"keep": 0.5, "at_most": "8ms"}, {"keep": 0.5, "batch": 0}, {"keep": 2}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError):
        latency(**options)


def test_an_absent_device_is_named():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    graph = ip.Graph.trace(model, torch.randn(1, 3, 8, 8))
    with pytest.raises(ip.InfopruneError, match="cuda:9"):
        latency(keep=0.5, device="cuda:9").cost(graph)


def test_a_plan_takes_it_beside_others(residual, monkeypatch):
    def without_noise(about, device, measure):
        return [1e-2, 0.01, 0.01, 0.1] if about[0] == "layer" else [1.0, 0.0, 1.0]

    monkeypatch.setattr(model_of_latency, "_cached", without_noise)
    model, x = residual
    budgets = [latency(keep=0.7), ip.budgets.macs(keep=0.6)]
    plan = ip.plan(model, x, ip.importance.IndependenceImportance(), budgets=budgets, round_to=8)
    assert plan.prices["macs"].after <= 0.6 * plan.prices["macs"].before
    graph = ip.Graph.trace(model, x, verify=False)
    price, kept = latency(keep=0.7).cost(graph), {edit.site.name: edit.keeps for edit in plan.edits}
    dense = price([site.size for site in graph.sites])
    assert price([kept.get(site.name, site.size) for site in graph.sites]) <= 0.7 * dense
