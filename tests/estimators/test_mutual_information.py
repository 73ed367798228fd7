"""Binned mutual information: against scikit-learn, closed forms, and its own promises."""

import doctest
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information
from tests.estimators import reference_mutual_information as reference

from infoprune.estimators import mutual_information as mi
from infoprune.estimators.mutual_information import bins, estimates, permuted, places, plug_in
from infoprune.estimators.mutual_information import counts as streamed

seeds = st.integers(0, 2**31)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def normals(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def integers(seed, high, *shape):
    return torch.randint(high, shape, generator=generator(seed))


def related(seed, n=600, d=2, clusters=4, strength=0.7):
    """Patches around a value that follows their label."""
    labels = integers(seed, clusters, n)
    return strength * labels.double().unsqueeze(-1) + normals(seed + 1, n, d), labels


def test_examples_in_docstrings_run():
    modules = (bins, streamed, estimates, places, plug_in)
    results = [doctest.testmod(module, extraglobs={"torch": torch}) for module in modules]
    assert all(result.attempted > 0 and result.failed == 0 for result in results)


# --- reference ---


@pytest.mark.parametrize("d", [1, 2, 64])
@pytest.mark.parametrize("bins", [2, 30])
def test_binned_equals_scikit_learn_on_the_same_patterns(d, bins):
    x, labels = related(d, d=d)
    assert mi.binned(x, labels, bins=bins).item() == pytest.approx(
        reference.binned(x.numpy(), labels.numpy(), bins), abs=1e-12
    )


def test_binned_equals_scikit_learn_on_discrete_labels():
    codes, labels = integers(0, 30, 2000), integers(1, 8, 2000)
    labels = (labels + codes // 8) % 8
    ours = mi.binned(codes.double(), labels, bins=30).item()
    assert abs(ours - mutual_info_score(codes.numpy(), labels.numpy())) < 1e-12
    assert abs(ours - reference.plug_in(codes.numpy(), labels.numpy())) < 1e-12


def test_many_features_and_tasks_at_once_equal_one_by_one():
    x, labels = normals(0, 5, 300, 3), integers(1, 6, 3, 300)
    x[:, :, 0] += labels[1]
    together = mi.binned(x, labels, bins=4)
    assert together.shape == (5, 3)
    expected = torch.from_numpy(reference.loop(x.numpy(), labels.numpy(), 4))
    torch.testing.assert_close(together, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(mi.binned(x, labels[1], bins=4), together[:, 1])
    torch.testing.assert_close(mi.binned(x[2], labels, bins=4), together[2])


@pytest.mark.parametrize("d", [1, 2])
def test_the_null_is_scikit_learns_expected_mutual_information(d):
    x, labels = related(0, d=d)
    codes = mi.uniform_codes(x.unsqueeze(0), *mi.value_range(x.unsqueeze(0)), 6)[0]
    table = contingency_matrix(reference.patterns(x.numpy(), 6), labels.numpy())
    assert codes.unique(dim=0).shape[0] == table.shape[0]
    expected = expected_mutual_information(table, len(labels))
    assert mi.estimate(x, labels, bins=6).null.item() == pytest.approx(expected, rel=1e-9)


def test_the_null_holds_for_large_counts_and_many_blocks(monkeypatch):
    codes, labels = integers(0, 5, 100_000), integers(1, 3, 100_000)
    expected = expected_mutual_information(contingency_matrix(codes.numpy(), labels.numpy()), 100_000)
    assert mi.estimate(codes.double(), labels, bins=5).null.item() == pytest.approx(expected, rel=1e-6)
    monkeypatch.setattr(permuted, "TERMS_AT_ONCE", 100)
    monkeypatch.setattr(plug_in, "PATTERNS_AT_ONCE", 2)
    again = mi.estimate(codes.double(), labels, bins=5)
    assert again.null.item() == pytest.approx(expected, rel=1e-6)
    assert again.value.item() == pytest.approx(mutual_info_score(codes.numpy(), labels.numpy()), abs=1e-12)


def counted(x, labels, clusters, bins=4):
    return mi.JointCounts.empty(*mi.value_range(x), clusters=clusters, bins=bins).update(x, labels)


def test_random_permutations_scatter_around_the_exact_null(monkeypatch):
    x, labels = normals(0, 3, 200, 2), integers(1, 4, 2, 200)
    counts = counted(x, labels, (4, 4))
    mean, error = counts.permutation_null(60, generator(0))
    assert ((mean - counts.compute().null).abs() < 4 * error).all()
    monkeypatch.setattr(plug_in, "PATTERNS_AT_ONCE", 5)
    torch.testing.assert_close(counts.permutation_null(60, generator(0)).value, mean)


# --- closed form ---


@pytest.mark.parametrize("rho", [0.2, 0.5, 0.9])
def test_information_of_normals_stays_under_its_closed_form_and_comes_close(rho):
    n = 100_000
    y = normals(0, n)
    x = rho * y + math.sqrt(1 - rho**2) * normals(1, n)
    true = -0.5 * math.log(1 - rho**2)
    results = [mi.estimate(x, mi.cluster_outputs(y, k, seed=0)) for k in (2, 8, 32)]
    values = [result.excess.item() for result in results]
    assert values == sorted(values)
    assert 0.9 * true < values[-1] < true + 3 * results[-1].standard_error


def test_a_copy_of_the_labels_has_all_their_information():
    labels = integers(0, 8, 500)
    result = mi.estimate(labels.double(), labels, bins=8)
    torch.testing.assert_close(result.value, result.label_entropy)
    assert not result.saturated


def test_corrections_remove_the_bias_of_independent_data():
    results = [mi.estimate(normals(2 * s, 500, 1), integers(2 * s + 1, 4, 500), bins=10) for s in range(200)]
    plug_in = torch.stack([result.value for result in results]).mean()
    excess = torch.stack([result.excess for result in results])
    assert plug_in > 0.02
    assert excess.mean().abs() < 3.5 * excess.std() / math.sqrt(200)
    assert torch.stack([result.miller_madow for result in results]).mean().abs() < plug_in / 4


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.5])
def test_stated_standard_errors_are_near_the_spread_and_not_below_it(strength):
    results = [mi.estimate(*related(2 * s, d=1, strength=strength), bins=8) for s in range(150)]
    spread = torch.stack([result.excess for result in results]).std()
    stated = torch.stack([result.standard_error for result in results]).square().mean().sqrt()
    assert 0.85 < stated / spread < 1.7


# --- saturation ---


def test_wide_patches_saturate_for_noise_as_for_signal_and_that_is_said():
    x, labels = related(0, n=2000, d=64)
    both = torch.stack([x, normals(5, 2000, 64)])
    result = mi.estimate(both, labels)
    torch.testing.assert_close(result.value[0], result.value[1], rtol=0.01, atol=0)
    assert result.saturated.tolist() == [True, True]
    assert (result.unique_fraction > 0.99).all()
    assert (result.excess.abs() < 0.02).all()


def test_the_low_variance_view_tells_signal_from_noise_where_patterns_cannot():
    x, labels = related(0, n=2000, d=64)
    both = torch.stack([x, normals(5, 2000, 64)])
    result = mi.estimate(mi.project(both, mi.principal_axes(both)), labels, bins=8)
    assert result.saturated.tolist() == [False, False]
    assert result.excess[0] > 0.8 * result.label_entropy[0]
    assert result.excess[1].abs() < 3.5 * result.standard_error[1]


# --- property ---


@given(seed=seeds, exponent=st.integers(-20, 20))
@settings(max_examples=30, deadline=None)
def test_scaling_by_powers_of_two_changes_nothing_at_all(seed, exponent):
    x, labels = related(seed, n=60)
    for kind in (torch.float32, torch.float64):
        same = mi.binned(x.to(kind) * 2.0**exponent, labels)
        assert torch.equal(same, mi.binned(x.to(kind), labels))


@given(seed=seeds, scale=st.floats(1e-3, 1e3), sign=st.sampled_from([-1, 1]))
@settings(max_examples=60, deadline=None)
def test_scaling_by_any_factor_changes_nothing_for_float64_data(seed, scale, sign):
    x, labels = related(seed, n=60)
    torch.testing.assert_close(mi.binned(sign * scale * x, labels), mi.binned(x, labels), rtol=1e-12, atol=1e-12)


@given(seed=seeds, scale=st.floats(1e-3, 1e3), kind=st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=60, deadline=None)
def test_quantised_data_on_the_edges_of_bins_stay_in_them(seed, scale, kind):
    x, labels = integers(seed, 256, 400, 1).to(kind), integers(seed + 1, 4, 400)
    x[:2, 0] = torch.tensor([0.0, 255.0])
    low, high = mi.value_range(x)
    scaled = x * scale
    assert torch.equal(mi.uniform_codes(x, low, high, 30), mi.uniform_codes(scaled, *mi.value_range(scaled), 30))
    torch.testing.assert_close(mi.binned(scaled, labels), mi.binned(x, labels))


def test_scaling_float32_moves_as_few_numbers_as_stated():
    x = torch.randn(1_000_000, 1, generator=generator(0))
    moved = 0
    for scale in (3.7, 0.013, 1 / 3):
        scaled = scale * x
        moved += (
            mi.uniform_codes(scaled, *mi.value_range(scaled), 30) != mi.uniform_codes(x, *mi.value_range(x), 30)
        ).sum()
    assert moved / 3e6 < 1e-5


@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_quantile_bins_see_only_the_order(seed):
    x, labels = related(seed, n=200, d=1)
    codes, curved = mi.quantile_codes(x, 10), mi.quantile_codes(x.exp() * 3.7, 10)
    assert torch.equal(codes, curved)
    assert torch.bincount(codes.long().flatten()).tolist() == [20] * 10
    assert torch.equal(mi.binned(codes, labels, bins=10), mi.binned(curved, labels, bins=10))


@given(seed=seeds, d=st.integers(1, 3), bins=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_information_is_bounded_by_entropies_and_blind_to_names_and_order(seed, d, bins):
    x, labels = related(seed, n=80, d=d)
    result = mi.estimate(x, labels, bins=bins)
    entropy_of_patterns = mi.binned(x, torch.from_numpy(reference.patterns(x.numpy(), bins)), bins=bins)
    assert 0 <= result.value <= torch.minimum(result.label_entropy, entropy_of_patterns) + 1e-12
    order = torch.randperm(80, generator=generator(seed))
    names = torch.tensor([5, -2, 9, 70])
    torch.testing.assert_close(mi.binned(x[order], names[labels[order]], bins=bins), result.value)
    positions = torch.randperm(d, generator=generator(seed))
    torch.testing.assert_close(mi.binned(x[:, positions], labels, bins=bins), result.value)


@given(seed=seeds, cut=st.integers(1, 99), d=st.sampled_from([1, 2, 30]))
@settings(max_examples=40, deadline=None)
def test_merge_equals_the_whole(seed, cut, d):
    x, labels = normals(seed, 3, 100, d), integers(seed + 1, 3, 2, 100)
    empty = mi.JointCounts.empty(*mi.value_range(x), clusters=(3, 3), bins=3)
    one, two = empty.update(x[:, :cut], labels[:, :cut]), empty.update(x[:, cut:], labels[:, cut:])
    whole = empty.update(x, labels).compute()
    for merged in (one.merge(two), two.merge(one), one.update(x[:, cut:], labels[:, cut:])):
        for ours, expected in zip(merged.compute(), whole, strict=True):
            assert torch.equal(ours, expected)


def test_memory_is_bounded_by_counts_and_not_by_samples(monkeypatch):
    monkeypatch.setattr(streamed, "PENDING", 1000)
    counts = mi.JointCounts.empty(torch.zeros(2), torch.ones(2), clusters=(3,), bins=4)
    for seed in range(100):
        counts = counts.update(torch.rand(2, 200, 1, generator=generator(seed)), integers(seed, 3, 1, 200))
        held = len(counts.table.key) + sum(keys.numel() for keys, _ in counts.pending)
        assert held <= 2 * 4 * 3 + 1400
    assert len(counts.merge(counts).table.key) == 2 * 4 * 3
    assert int(counts.label_counts.sum()) == 20_000


def test_nats_become_bits():
    assert mi.bits(torch.tensor(math.log(8))).item() == pytest.approx(3)


def test_a_constant_feature_knows_nothing():
    result = mi.estimate(torch.full((2, 50, 4), 0.1), integers(0, 3, 50))
    assert result.value.tolist() == result.excess.tolist() == [0, 0]


# --- patches and clusters ---


def test_patches_are_the_squares_of_the_map_in_reading_order():
    maps = normals(0, 2, 3, 5, 7)
    got = mi.patches(maps, 2)
    assert got.shape == (3, 2 * 2 * 3, 4)
    expected = [
        maps[image, 1, row : row + 2, column : column + 2].flatten()
        for image in range(2)
        for row in (0, 2)
        for column in (0, 2, 4)
    ]
    assert torch.equal(got[1], torch.stack(expected))


def test_output_patches_lie_where_the_feature_patches_lie():
    features = normals(0, 2, 3, 5, 7)
    outputs = torch.nn.functional.interpolate(features, scale_factor=4, mode="nearest")
    x, y = mi.corresponding_patches(features, outputs, 2)
    assert y.shape == (12, 3 * 64)
    upscaled = x.reshape(3, 12, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.equal(y.reshape(12, 3, 8, 8).transpose(0, 1), upscaled)


def test_clusters_repeat_for_a_seed_and_follow_the_outputs():
    points = torch.cat([normals(0, 50, 3), normals(1, 50, 3) + 20]).float()
    labels = mi.cluster_outputs(points, 2, seed=0)
    assert torch.equal(labels, mi.cluster_outputs(points, 2, seed=0))
    assert labels[:50].unique().numel() == labels[50:].unique().numel() == 1
    assert labels.unique().numel() == 2


# --- bad input ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: mi.binned(x, y[:-1]), "600 samples need shape"),
        (lambda x, y: mi.binned(x[:1], y[:1]), "at least 2"),
        (lambda x, y: mi.binned(x * torch.nan, y), "NaN"),
        (lambda x, y: mi.binned(x, y, bins=0), "bins is 0"),
        (lambda x, y: mi.patches(x, 2), "images x channels"),
        (lambda x, y: mi.patches(torch.rand(1, 1, 3, 5), 4), "choose 1 to 3"),
        (lambda x, y: mi.patches(torch.rand(1, 1, 3, 5), 0), "choose 1 to 3"),
        (
            lambda x, y: mi.corresponding_patches(torch.rand(1, 1, 4, 4), torch.rand(1, 1, 8, 4), 2),
            "do not correspond",
        ),
        (
            lambda x, y: mi.corresponding_patches(torch.rand(1, 1, 4, 4), torch.rand(2, 1, 8, 8), 2),
            "do not correspond",
        ),
        (lambda x, y: mi.cluster_outputs(torch.ones(5, 2), 2, seed=0), "different points"),
        (lambda x, y: mi.cluster_outputs(x, 0, seed=0), "clusters is 0"),
        (lambda x, y: mi.principal_axes(x, 3), "components is 3"),
        (lambda x, y: mi.quantile_codes(x, 0), "bins is 0"),
        (
            lambda x, y: mi.JointCounts.empty(torch.zeros(2), torch.ones(2), clusters=[3]).compute(),
            "no batch",
        ),
        (lambda x, y: counted(x[None], y[None], (3,)), "labels lie between 0 and 3"),
        (lambda x, y: counted(x[None], y[None], (4,)).update(x.expand(2, -1, -1), y[None]), "1 features"),
        (lambda x, y: counted(x[None], y[None], (4,)).merge(counted(x[None], y[None], (5,))), "same empty"),
        (lambda x, y: counted(x[None], y[None], (4,)).permutation_null(1, generator(0)), "at least 2"),
        (lambda x, y: mi.JointCounts.empty(torch.ones(2), torch.zeros(2), clusters=[3]), "low <= high"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call(*related(0))


def test_labels_must_be_integers():
    x, labels = related(0)
    with pytest.raises(TypeError, match="cluster_outputs"):
        mi.binned(x, labels.double())


def test_patches_of_any_width_are_counted():
    """30^209 is no float any more."""
    x = torch.arange(4.0).repeat_interleave(5).reshape(1, 20, 1).repeat(2, 1, 209)
    labels = torch.arange(4).repeat_interleave(5)
    torch.testing.assert_close(mi.binned(x, labels), torch.full((2,), math.log(4), dtype=torch.float64))


@pytest.mark.parametrize("tasks", [(), (2,)])
def test_no_feature_has_no_information(tasks):
    labels = torch.arange(4).expand(*tasks, 4)
    assert mi.binned(torch.empty(3, 0, 4, 2), labels).shape == (3, 0, *tasks)
    assert mi.estimate(torch.empty(0, 4, 2), labels).saturated.shape == (0, *tasks)
