"""One pass counts what features tell about each task; rankings and importances rest on it."""

import math
from dataclasses import replace

import pytest
import torch
from sklearn.metrics import mutual_info_score
from tests.split.split_nets import Skip
from torch import nn

import infoprune as ip
from infoprune.errors import Saturated, StaleObservations, UnknownName, UnusableData
from infoprune.estimators import mutual_information as mi
from infoprune.observe.patches import corresponding, patches_of


class Known(nn.Module):
    """Of four features, the first decides task "a", the second task "b", the others nothing."""

    def __init__(self):
        super().__init__()
        self.features = nn.Identity()

    def forward(self, x):
        x = self.features(x)
        return {"a": (x[:, :1] > 0).float(), "b": 2 * (x[:, 1:2] > 0).float()}


IMAGES = torch.randn(96, 4, 8, 8, generator=torch.Generator().manual_seed(0)).split(32)


def known(**options):
    options = {
        "layers": ["features"],
        "clusters": 2,
        "view": ip.split.WholePatches(1, bins=4),
        "progress": False,
    } | options
    return ip.split.observe_tasks(Known(), IMAGES, **options)


def test_each_task_has_its_own_order():
    seen = known()
    assert ip.split.rank(seen, "a")[0] == 0
    assert ip.split.rank(seen, "b")[0] == 1
    assert set(ip.split.rank(seen, {"a": 1, "b": 1})[:2].tolist()) == {0, 1}
    assert ip.split.rank(seen, {"a": 0.9, "b": 0.1})[0] == 0


def test_counts_give_what_scikit_learn_gives():
    x = torch.cat(list(IMAGES))
    low, high = (v.flatten() for v in (x[:64].amin((0, 2, 3)), x[:64].amax((0, 2, 3))))  # bins are fixed on the pilot
    value = known().layer().information.value
    for channel in range(4):
        codes = ((x[:, channel] - low[channel]) / (high[channel] - low[channel]) * 4).floor().clamp(0, 3)
        expected = mutual_info_score(codes.flatten().numpy(), (x[:, 0] > 0).flatten().numpy())
        assert abs(expected - value[channel, 0].item()) < 1e-12


def test_features_that_tell_nothing_score_about_zero_and_scale_does_not_matter():
    scores = known().scores("features", "a")
    assert scores[0] > 0.3
    assert scores[1:].abs().max() < 0.01

    class Scaled(Known):
        def forward(self, x):
            return super().forward(8 * x)

    options = {"layers": ["features"], "clusters": 2, "view": ip.split.WholePatches(1, bins=4), "progress": False}
    scaled = ip.split.observe_tasks(Scaled(), IMAGES, **options)
    assert torch.equal(scaled.scores("features", "a"), scores)


def test_wide_patterns_saturate_and_principal_axes_do_not():
    wide = known(view=ip.split.WholePatches(4)).layer().information
    narrow = known(view=ip.split.PrincipalAxes(4)).layer().information
    assert wide.saturated.all()
    assert wide.value.std(0).max() < 1e-6
    assert not narrow.saturated.any()


def test_task_blind_scores_are_what_they_say():
    x = torch.cat(list(IMAGES)).double().movedim(1, 0).flatten(1)
    evidence = known().layer()
    torch.testing.assert_close(ip.split.l1(evidence), x.abs().mean(1), rtol=1e-6, atol=0)
    torch.testing.assert_close(ip.split.l2(evidence), x.square().mean(1).sqrt(), rtol=1e-6, atol=0)
    distances = torch.cdist(x, x).sum(1) / x.shape[1] ** 0.5
    torch.testing.assert_close(ip.split.geometric_median(evidence), distances, rtol=1e-5, atol=0)


def test_patches_lie_where_outputs_lie():
    """A map that copies the output's averages must fall on them patch by patch."""
    output = torch.rand(2, 1, 32, 48)
    features = nn.functional.avg_pool2d(output, 8)
    patches, grid = patches_of(features, nn.Conv2d(1, 1, 1), 2)
    averages = corresponding(output, grid).mean(1)
    torch.testing.assert_close(patches[0].mean(1), averages)
    odd, cut = patches_of(torch.rand(1, 3, 5, 7), nn.Conv2d(1, 1, 1), 2)
    assert odd.shape == (3, 6, 4)
    assert len(corresponding(torch.rand(1, 1, 40, 56), cut)) == 6


def test_the_pass_sees_batches_as_one_whole_and_leaves_the_model():
    model = Skip().train()
    x = torch.rand(80, 3, 16, 16)
    parts, whole = (
        ip.split.observe_tasks(model, batches, layers=["join"], clusters=3, progress=False)
        for batches in (x.split(64), [x[:64], x[64:72], x[72:]])
    )
    torch.testing.assert_close(parts.layer().information.value, whole.layer().information.value, rtol=0, atol=1e-3)
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert "join: 8 channels" in str(parts)


def test_channels_are_ranked_in_a_pruner_for_one_task():
    model = Skip()
    seen = ip.split.observe_tasks(model, torch.rand(64, 3, 16, 16).split(32), clusters=3, progress=False)
    assert set(seen.layers) == {"stem", "inner", "outer", "classes", "depth"}
    importance = ip.importance.MutualInformationImportance(seen, task={"segmentation": 0.7, "disparity": 0.3})
    plan = ip.plan(model, torch.rand(1, 3, 16, 16), importance, rates=0.5, ignored_layers=[model.classes, model.depth])
    pruned = ip.prune_(model, torch.rand(1, 3, 16, 16), plan)
    assert pruned.inner.out_channels == 4
    with pytest.raises(StaleObservations, match="observed with 8 channels and now has 4"):
        ip.plan(model, torch.rand(1, 3, 16, 16), importance, rates=0.5)


def test_mistakes_are_one_sentence():
    seen = known()
    with pytest.raises(ValueError, match="name one, or give each a weight"):
        ip.split.rank(seen)
    with pytest.raises(UnknownName, match="did you mean 'a'"):
        ip.split.rank(seen, "aa")
    with pytest.raises(ValueError, match="no estimate"):
        ip.importance.MutualInformationImportance(seen, task="a", estimate="exces")
    with pytest.raises(TypeError, match="observe_tasks"):
        ip.importance.MutualInformationImportance(None)
    with pytest.raises(UnknownName, match="no layer 'feature'"):
        known(layers=["feature"])
    with pytest.raises(UnusableData, match="NaN"):
        ip.split.observe_tasks(Known(), [torch.full((9, 4, 8, 8), torch.nan)], layers=["features"], progress=False)
    with pytest.raises(UnusableData, match="empty"):
        ip.split.observe_tasks(Known(), [], layers=["features"], progress=False)


def told(outputs, images=IMAGES, clusters=2):
    return ip.split.observe_tasks(
        Known(),
        images,
        layers=["features"],
        outputs=outputs,
        clusters=clusters,
        view=ip.split.WholePatches(1),
        progress=False,
    )


@pytest.mark.parametrize(
    ("outputs", "clusters", "message"),
    [
        (lambda given: {"a": given["a"]}, 7000, r"task 'a'.*clusters is 7000.*number of points"),
        (lambda given: {"b": given["b"]}, 3, r"task 'b'.*3 clusters need as many different points"),
        (lambda given: {"a": given["a"][:5]}, 2, r"task 'a' gave 5 outputs for 32 images"),
    ],
)
def test_errors_name_the_task(outputs, clusters, message):
    with pytest.raises(UnusableData, match=message):
        told(outputs, clusters=clusters)


def test_a_task_that_goes_missing_is_named():
    given = iter([{"a": torch.rand(32, 2)}, {"a": torch.rand(32, 2)}, {"c": torch.rand(32, 2)}])
    with pytest.raises(UnusableData, match=r"task 'a' is missing in a later batch, which gave 'c'"):
        told(lambda _: next(given))


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="samples is 0"):
        known(samples=0)


# ------------------------------------------------------------------------------------------------------- saturation


def test_an_order_by_index_is_refused_unless_asked_for():
    seen = known(view=ip.split.WholePatches(4))
    for estimate in ("value", "excess"):
        with pytest.raises(Saturated, match=r"100% of the features.*indices.*tied=1"):
            ip.split.rank(seen, "a", estimate=estimate)
        assert ip.split.tied_share(seen, "a", estimate=estimate) == 1
    assert ip.split.rank(seen, "a", estimate="value", tied=1).tolist() == sorted(range(4))
    assert ip.split.rank(seen, by=ip.split.l2).shape == (4,)


def test_the_share_of_ties_counts_features_not_pairs():
    seen = known()
    information = seen.layer().information
    for values, share in (([1.0, 2, 3, 4], 0), ([1.0, 1, 3, 4], 0.5), ([1.0, 1, 1, 4], 0.75), ([2.0, 1, 2, 1], 1)):
        value = torch.tensor(values).double()[:, None].expand(4, 2) * 0.1
        layer = replace(seen.layer(), information=information._replace(value=value))
        assert ip.split.tied_share(replace(seen, layers={"features": layer}), "a", estimate="value") == share


def test_fixed_steps_are_the_bins_of_the_cited_estimator():
    """Saxe et al.: numbers in steps of one width for all units, whole patterns counted."""
    x = torch.cat(list(IMAGES))
    seen = known(view=ip.split.FixedSteps(2, step=1.5)).layer().information
    low, high = math.floor(x[:64].min() / 1.5), math.floor(x[:64].max() / 1.5)  # fixed on the pilot
    numbers = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    points = corresponding((x[:, :1] > 0).float(), patches_of(x, nn.Identity(), 2)[1])
    clusters = mi.nearest_centre(points, mi.cluster_centres(points[: 64 * 16], 2, seed=0))
    for channel in range(4):
        codes = (numbers[:, channel].flatten(0, 2) / 1.5).floor().clamp(low, high)
        patterns = codes.unique(dim=0, return_inverse=True)[1]
        assert mutual_info_score(patterns, clusters) == pytest.approx(seen.value[channel, 0].item(), abs=1e-9)
    with pytest.raises(ValueError, match="step is 0"):
        ip.split.FixedSteps(step=0)


def test_wide_steps_need_not_saturate_where_whole_patches_do():
    wide = known(view=ip.split.FixedSteps(2, step=3.0))
    assert not wide.layer().information.saturated.any()
    assert known(view=ip.split.WholePatches(2)).layer().information.saturated.all()
    assert ip.split.rank(wide, "a")[0] == 0
