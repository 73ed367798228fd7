"""ConditionalImportance on networks: whose loss is made up for, and what evidence it needs."""

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import infoprune as ip
from infoprune.errors import StaleObservations, UnusableData
from infoprune.importance import ConditionalImportance

IMAGE = torch.zeros(2, 3, 6, 6)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(64, 2)).eval()


def pictures(count=3):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(16, 3, 6, 6, generator=generator) for _ in range(count)]


def scores(model, site, seen=None):
    seen = seen or ip.observe(model, pictures(), moments=True, progress=False)
    return ConditionalImportance(seen)(ip.Graph.trace(model, IMAGE).group(site)[0])


def test_of_two_equal_channels_one_is_worth_least_and_the_other_is_not():
    model = network()
    with torch.no_grad():
        model[0].weight[4], model[0].bias[4] = model[0].weight[1], model[0].bias[1]
    found = scores(model, "0")
    least, other = sorted([1, 4], key=lambda unit: float(found[unit]))
    assert int(found.argmin()) == least
    assert found[other] > 10 * found[least]


def test_a_channel_that_nobody_reads_is_worth_nothing():
    model = network()
    with torch.no_grad():
        model[2].weight[:, 3] = 0
    found = scores(model, "0")
    assert int(found.argmin()) == 3
    assert float(found[3]) == pytest.approx(0, abs=1e-9)


def test_pixels_of_a_flattened_channel_leave_together():
    found = scores(network(), "2")
    assert found.shape == (4,)
    assert bool((found > 0).all())


def test_evidence_is_merged_saved_and_loaded(tmp_path):
    model, batches = network(), pictures(4)
    whole = ip.observe(model, batches, moments=True, progress=False)
    parts = [ip.observe(model, some, moments=True, progress=False) for some in (batches[:2], batches[2:])]
    merged = parts[0].merge(parts[1])
    torch.testing.assert_close(merged.moments.layers["2"].xz, whole.moments.layers["2"].xz)
    whole.save(tmp_path / "seen.safetensors")
    loaded = ip.Observations.load(tmp_path / "seen.safetensors")
    assert torch.equal(scores(model, "0", loaded), scores(model, "0", whole))


def test_halves_of_the_evidence_add_up_and_survive_files_and_merging(tmp_path):
    model, batches = network(), pictures(5)
    whole = ip.observe(model, batches, moments=True, progress=False)
    one, other = whole.moments.halves()
    assert sorted(float(half.layers["2"].count) for half in (one, other)) == [16 * 36 * 2, 16 * 36 * 3]
    torch.testing.assert_close(one.layers["2"].xz + other.layers["2"].xz, whole.moments.layers["2"].xz)
    whole.save(tmp_path / "seen.safetensors")
    loaded = ip.Observations.load(tmp_path / "seen.safetensors").moments.halves()
    assert all(torch.equal(a.layers["2"].xz, b.layers["2"].xz) for a, b in zip(loaded, (one, other), strict=True))
    single, more = (ip.observe(model, [x], moments=True, progress=False) for x in batches[:2])
    with pytest.raises(UnusableData, match="two batches or more"):
        ConditionalImportance(single).errors(model, IMAGE)
    counts = [float(half.layers["2"].count) for half in single.merge(more).moments.halves()]
    assert counts == [16 * 36, 16 * 36]


def test_standard_errors_are_what_other_samples_change():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).eval()
    losses, errors = [], []
    for _ in range(20):
        seen = ip.observe(model, [torch.randn(64, 5) for _ in range(4)], moments=True, progress=False)
        losses.append(ConditionalImportance(seen).losses(model, torch.zeros(2, 5))["0"])
        errors.append(ConditionalImportance(seen).errors(model, torch.zeros(2, 5))["0"])
    assert errors[0][-1] == 0  # all units stay
    spread, told = np.std(losses, axis=0, ddof=1)[1:-1], np.sqrt(np.mean(np.square(errors), axis=0))[1:-1]
    assert 0.65 < float(np.mean(told / spread)) < 1.5  # 20 draws tell a spread to a sixth


def test_moments_of_a_file_without_halves_are_read_and_have_no_standard_errors(tmp_path):
    model, path = network(), tmp_path / "seen.safetensors"
    seen = ip.observe(model, pictures(), moments=True, progress=False)
    seen.save(path)
    with safe_open(path, "pt") as file:
        about, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file({name: t for name, t in tensors.items() if not name.startswith("half.")}, path, about)
    loaded = ip.Observations.load(path)
    assert torch.equal(scores(model, "0", loaded), scores(model, "0", seen))
    with pytest.raises(UnusableData, match="kept without halves"):
        ConditionalImportance(loaded).errors(model, IMAGE)


def test_evidence_of_another_network_or_none_is_refused():
    model = network()
    seen = ip.observe(model, pictures(), moments=True, progress=False)
    pruned = ip.prune_(model, IMAGE, ip.plan(model, IMAGE, ConditionalImportance(seen), rates={"0": 0.5}))
    with pytest.raises(StaleObservations, match="observe"):
        scores(pruned, "0", seen)
    with pytest.raises(UnusableData, match="moments=True"):
        ConditionalImportance(ip.observe(pruned, pictures(), progress=False))
    with pytest.raises(TypeError, match="seen is str"):
        ConditionalImportance("seen")


def test_losses_are_what_least_squares_on_the_units_that_stay_leaves_unexplained():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).eval()
    x = torch.randn(400, 5, generator=torch.Generator().manual_seed(1))
    importance = ConditionalImportance(ip.observe(model, [x], samples=400, moments=True, progress=False))
    lost = importance.losses(model, x[:2])["0"]
    order = np.argsort(importance(ip.Graph.trace(model, x[:2]).group("0")[0]).numpy())[::-1]
    with torch.no_grad():
        units, outputs = (t.double().numpy() for t in (model[:2](x), model(x)))
    for k in range(7):
        columns = np.column_stack([units[:, order[:k]], np.ones(400)])
        gap = outputs - columns @ np.linalg.lstsq(columns, outputs, rcond=None)[0]
        left = (gap**2).sum() / ((outputs - outputs.mean(0)) ** 2).sum()
        assert lost[k] == pytest.approx(left, rel=0.05, abs=1e-3)  # ridges of a thousandth are all that differs


def test_losses_never_grow_with_the_units_that_stay_and_end_at_nothing():
    model = network()
    importance = ConditionalImportance(ip.observe(model, pictures(), moments=True, progress=False))
    found = importance.losses(model, IMAGE)
    assert {site: len(lost) for site, lost in found.items()} == {"0": 7, "2": 5}
    assert all((np.diff(lost) <= 0).all() and lost[-1] == 0 for lost in found.values())
