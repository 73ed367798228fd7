import random
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.observe.observed_nets import Small, batches
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import infoprune as ip
from infoprune.errors import BadArtifact, StaleObservations, UnusableData
from infoprune.estimators.hsic import MinibatchHSIC, label_gram, linear_gram, nhsic
from infoprune.observe import Observations, by_sample, gram_of, similarity


def observe(model, loader, **options):
    return ip.observe(model, loader, progress=False, **options)


def outputs_by_hand(model, x):
    """What every layer gives out, kept by the plainest of hooks."""
    kept = {}
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    handles = [
        m.register_forward_hook(lambda _, __, y, name=name: kept.update({name: y.clone()}))
        for name, m in layers.items()
    ]
    with torch.no_grad():
        output = model.eval()(x)
    for handle in handles:
        handle.remove()
    return kept, output


# ---------------------------------------------------------------------------------- what is measured


def test_equals_the_minibatch_estimate_from_stored_activations():
    model, data = Small(), batches()
    seen = observe(model, data)
    statistic = MinibatchHSIC.empty(6)
    for x, y in data:
        kept, output = outputs_by_hand(model, x)
        maps = [kept[name] for name in seen.layers]
        grams = [linear_gram(t.double().flatten(1)) for t in [*maps, x, output]]
        statistic = statistic.update(torch.stack([*grams, label_gram(y)]))
    assert list(seen.layers) == ["conv1", "conv2", "fc"]
    assert seen.companions == ("input", "output", "labels")
    expected, found = statistic.compute(), seen.compute()
    torch.testing.assert_close(found.value, expected.value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.standard_error, expected.standard_error, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("d", [1, 7, 2**18 + 3])
def test_the_chunked_gram_matrix_is_exact(d):
    x = torch.randn(3, d, dtype=torch.float64)
    torch.testing.assert_close(gram_of(x), (x - x[0]) @ (x - x[0]).T, rtol=1e-12, atol=1e-9)


def test_a_large_common_mean_costs_no_digits():
    x = torch.randn(8, 5000) + 1000
    exact = linear_gram(x.double())
    found = gram_of(x)
    centred = found - found.mean(0) - found.mean(1, keepdim=True) + found.mean()
    torch.testing.assert_close(centred, exact, rtol=1e-5, atol=1e-5 * float(exact.abs().max()))


def test_integers_are_compared_for_equality():
    y = torch.tensor([[1, 2], [1, 3], [4, 5]])
    expected = torch.tensor([[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(similarity(y), expected)
    torch.testing.assert_close(similarity(y[:, 0]), label_gram(y[:, 0]))


@pytest.mark.parametrize(
    ("shape", "n", "features"),
    [((8, 3, 2, 2), 8, 12), ((8, 5), 8, 5), ((32, 4, 3), 8, 48), ((5, 8, 3), 8, 15), ((7, 3), 8, None)],
)
def test_finds_the_samples_axis(shape, n, features):
    found = by_sample(torch.zeros(shape), n)
    assert (None if found is None else found.shape[1]) == features


def test_channels_last_maps_are_not_copied():
    x = torch.randn(4, 3, 5, 5).contiguous(memory_format=torch.channels_last)
    flat = by_sample(x, 4)
    assert flat.data_ptr() == x.data_ptr()
    torch.testing.assert_close(gram_of(flat), gram_of(x.flatten(1)), rtol=1e-5, atol=1e-4)


def test_a_layer_that_runs_twice_counts_with_all_it_gave_out():
    shared = nn.Linear(5, 5)
    model = nn.Sequential(shared, nn.Tanh(), shared)
    x = torch.randn(6, 5)
    seen = observe(model, [x])
    with torch.no_grad():
        both = torch.cat([shared(x), model(x)], 1)
    grams = torch.stack([linear_gram(t.double()) for t in (both, x)])
    expected = MinibatchHSIC.empty(2).update(grams).compute().value[0, 1]
    rows = [seen.row("0"), seen.companion("input")]
    assert float(seen.compute().value[rows[0], rows[1]]) == pytest.approx(float(expected), rel=1e-5)


def test_a_module_that_is_never_called_is_told_apart():
    class Bypass(Small):
        def forward(self, x):
            x = nn.functional.conv2d(x, self.conv1.weight, self.conv1.bias, padding=1)
            return self.fc(self.conv2(x).mean((-2, -1)))

    seen = observe(Bypass(), batches())
    assert list(seen.silent) == ["conv1"]
    assert "not called" in seen.silent["conv1"]


# ------------------------------------------------------------------------------------------- batches


def test_the_first_samples_are_enough():
    data = batches(3, 8)
    first = [(x[:n], y[:n]) for (x, y), n in zip(data, (8, 4), strict=False)]
    model = Small()
    a, b = observe(model, data, samples=12), observe(model, first)
    assert a.samples == 12
    torch.testing.assert_close(a.compute().value, b.compute().value)


def test_batches_too_small_for_an_unbiased_estimate_are_joined():
    x, y = batches(1, 10)[0]
    y = torch.arange(10) % 2
    model = Small()
    singles = observe(model, list(zip(x.split(1), y.split(1), strict=True)))
    joined = observe(model, [(x[:4], y[:4]), (x[4:], y[4:])])
    assert singles.samples == 10
    torch.testing.assert_close(singles.compute().value, joined.compute().value, rtol=1e-5, atol=1e-6)


def test_large_batches_are_taken_in_blocks():
    x, y = batches(1, 130)[0]
    model = Small()
    whole = observe(model, [(x, y)])
    parts = observe(model, [(x[a:b], y[a:b]) for a, b in ((0, 43), (43, 87), (87, 130))])
    torch.testing.assert_close(whole.compute().value, parts.compute().value, rtol=1e-5, atol=1e-6)


def test_takes_inputs_alone_mappings_and_data_loaders():
    x, y = batches(1, 8)[0]
    model = Small()
    loaders = [[x], [{"x": x, "labels": y}], DataLoader(TensorDataset(x, y), batch_size=8), [(x, y.tolist())]]
    found = [observe(model, loader) for loader in loaders]
    assert [seen.companions[2:] for seen in found] == [(), ("labels",), ("labels",), ("labels",)]
    for seen in found:
        torch.testing.assert_close(seen.compute().value[:5, :5], found[0].compute().value)


# ------------------------------------------------------------------------------- merging and keeping


def test_merged_halves_equal_the_whole():
    model, data = Small(), batches(5)
    whole, halves = observe(model, data), observe(model, data[:2]).merge(observe(model, data[2:]))
    assert halves.samples == whole.samples
    for a, b in zip(halves.compute(), whole.compute(), strict=True):
        torch.testing.assert_close(a, b)


def test_observations_of_different_networks_do_not_merge():
    with pytest.raises(StaleObservations, match="different layers"):
        observe(Small(), batches()).merge(observe(Small(7), batches()))


def test_saved_observations_come_back(tmp_path):
    seen = observe(Small(), batches())
    seen.save(tmp_path / "seen.safetensors")
    again = Observations.load(tmp_path / "seen.safetensors")
    assert (again.layers, again.silent, again.companions) == (seen.layers, seen.silent, seen.companions)
    assert again.samples == seen.samples
    for a, b in zip(again.compute(), seen.compute(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("damage", ["truncated", "foreign", "shapes"])
def test_a_damaged_file_is_one_typed_error(tmp_path, damage):
    path = tmp_path / "seen.safetensors"
    seen = observe(Small(), batches())
    seen.save(path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "foreign":
        path.write_text("not tensors")
    else:
        path.write_bytes(path.read_bytes().replace(b'\\"fc\\": [4, 8]', b'\\"fc\\": [4, 8],\\"g\\":[1]')[:])
    with pytest.raises(BadArtifact, match="does not hold observations"):
        Observations.load(path)


# ------------------------------------------------------------------------------ leaving things alone


def state_of(model):
    modes = [m.training for m in model.modules()]
    tensors = {name: t.clone() for name, t in model.state_dict().items()}
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    rng = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
    return (
        modes,
        tensors,
        grads,
        hooks,
        rng,
        torch.is_grad_enabled(),
        torch.backends.mha.get_fastpath_enabled(),
    )


def assert_same(before, after):
    assert before[0] == after[0]
    assert before[3] == after[3]
    assert before[4][1:] == after[4][1:]
    assert before[5:] == after[5:]
    torch.testing.assert_close(before[1], after[1], rtol=0, atol=0)
    torch.testing.assert_close(before[4][0], after[4][0], rtol=0, atol=0)
    assert all(
        (a is None) == (b is None) and (a is None or a.equal(b)) for a, b in zip(before[2], after[2], strict=True)
    )


def noisy_loader(fail=None):
    for x, y in batches():
        torch.rand(1), random.random(), np.random.rand()
        yield x, y
    if fail is not None:
        raise fail


@pytest.mark.parametrize("fail", [None, KeyboardInterrupt(), RuntimeError("broken loader")])
def test_leaves_the_model_and_the_generators_as_they_were(fail):
    model = Small().train()
    model.bn2.eval()
    model(batches()[0][0]).sum().backward()
    before = state_of(model)
    if fail is None:
        observe(model, noisy_loader())
    else:
        with pytest.raises(type(fail)):
            observe(model, noisy_loader(fail))
    assert_same(before, state_of(model))


def test_an_interrupt_inside_the_model_leaves_it_as_it_was():
    class Interrupted(Small):
        def forward(self, x):
            super().forward(x)
            raise KeyboardInterrupt

    model = Interrupted()
    before = state_of(model)
    with pytest.raises(KeyboardInterrupt):
        observe(model, batches())
    assert_same(before, state_of(model))


def test_keeps_nothing_that_grows_with_the_samples():
    model = Small()
    a, b = observe(model, batches(2)), observe(model, batches(40))
    assert a.statistic.batches.sums.shape == b.statistic.batches.sums.shape


def test_progress_goes_to_stderr_and_can_be_silenced(capsys, monkeypatch):
    monkeypatch.setattr("infoprune.progress.QUIET_SECONDS", 0.0)
    ip.observe(Small(), batches())
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "observe" in shown.err
    observe(Small(), batches())
    assert capsys.readouterr().err == ""


# ----------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ([], "empty"),
        ([torch.randn(1, 3, 6, 6)], "1 sample"),
        ([torch.full((8, 3, 6, 6), float("nan"))], "NaN"),
        ([(torch.randn(8, 3, 6, 6), torch.zeros(7))], "counts the samples"),
        (["image.png"], "without tensors"),
        ([()], "without tensors"),
    ],
)
def test_unusable_data_is_one_clear_error(loader, message):
    with pytest.raises(UnusableData, match=message), warnings.catch_warnings():
        warnings.simplefilter("error")
        observe(Small(), loader)


def test_a_loader_that_is_none_is_refused():
    with pytest.raises(TypeError, match="iterable of batches"):
        observe(Small(), None)


def test_too_few_samples_are_refused():
    with pytest.raises(UnusableData, match="samples is 1"):
        observe(Small(), batches(), samples=1)


@pytest.mark.parametrize("device", ["cuda:7", "gpu", "xpu"])
def test_an_absent_device_is_named(device):
    with pytest.raises(UnusableData, match=device):
        observe(Small(), batches(), device=device)


def test_labels_that_are_missing_are_asked_for():
    seen = observe(Small(), batches(labels=False))
    with pytest.raises(UnusableData, match="inputs alone"):
        seen.companion("labels")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_runs_on_a_gpu_and_brings_the_model_home():
    model = Small()
    there, here = observe(model, batches(), device="cuda"), observe(model, batches())
    assert next(model.parameters()).device.type == "cpu"
    torch.testing.assert_close(there.compute().value, here.compute().value, rtol=1e-2, atol=1e-3)


# ---------------------------------------------------------------------------------------------- HSIC as printed


class Bottleneck(nn.Module):
    """A sum behind a linear projection: no activation follows, the next convolution reads it."""

    def __init__(self):
        super().__init__()
        self.stem, self.project, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 5, 3)

    def forward(self, x):
        x = F.relu6(self.stem(x), inplace=True)
        return F.silu(self.last(x + self.project(x))).mean((2, 3))


def test_maps_as_printed_are_those_behind_activations_or_else_what_is_read_next():
    torch.manual_seed(0)
    model, x = Bottleneck(), torch.randn(9, 3, 8, 8)
    with torch.no_grad():
        first = F.relu6(model.stem(x))
        middle = first + model.project(first)
        last = F.silu(model.last(middle))
    seen = ip.observe(model, [x[:4], x[4:]], progress=False, printed="linear")
    expected = [
        [float(nhsic(a.flatten(1), b.flatten(1))) for b in (first, middle, last)] for a in (first, middle, last)
    ]
    torch.testing.assert_close(seen.compute().value[:3, :3].float(), torch.tensor(expected))
    assert seen.samples == 9
    assert seen.compute().standard_error[0, 1].isnan()


def test_observations_as_printed_are_kept_and_never_merged(tmp_path):
    seen = ip.observe(Bottleneck(), [torch.randn(9, 3, 8, 8)], progress=False, printed="gaussian")
    seen.save(tmp_path / "seen.safetensors")
    again = ip.Observations.load(tmp_path / "seen.safetensors")
    assert again.printed == "gaussian"
    torch.testing.assert_close(again.compute().value, seen.compute().value)
    with pytest.raises(ip.errors.UnusableData, match="all samples at once"):
        seen.merge(again)


def test_a_kernel_that_is_not_printed_is_named():
    with pytest.raises(ValueError, match="'linear', 'gaussian'"):
        ip.observe(Bottleneck(), [torch.randn(9, 3, 8, 8)], printed="rbf")
