"""Ranjbar Alvar and Bajic, "Compressive feature selection": equations 1 to 9 and the estimator, as printed."""

import math

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from tests.estimators import reference_mutual_information as paper
from torch import nn

import infoprune as ip
from infoprune.estimators import mutual_information as mi

SIDE, BINS, CLUSTERS = 2, 4, 3


def patches_of(feature):
    """The patches of one feature's maps, images x h x w, image after image."""
    images, h, w = feature.shape
    return np.array(
        [
            feature[i, r : r + SIDE, c : c + SIDE].ravel()
            for i in range(images)
            for r in range(0, h - SIDE + 1, SIDE)
            for c in range(0, w - SIDE + 1, SIDE)
        ]
    )


def test_features_are_ordered_by_equation_7(model, pictures):
    """Numbers in equal bins of the feature's range, patches as patterns, k-means of the outputs, plug-in information.

    The network gives one vector an image, which belongs to all of the image's patches.
    """
    x = pictures[0]
    view = ip.split.WholePatches(SIDE, bins=BINS)
    seen = ip.split.observe_tasks(model, [x], layers=["stem"], clusters=CLUSTERS, view=view, progress=False)
    with torch.no_grad():
        features, outputs = model.stem(x).numpy(), model(x)
    patches = [patches_of(features[:, channel]) for channel in range(features.shape[1])]
    each = len(patches[0]) // len(x)
    clusters = KMeans(CLUSTERS, n_init="auto", random_state=0).fit(outputs.repeat_interleave(each, 0).numpy()).labels_
    printed = torch.tensor([paper.plug_in(paper.patterns(p, BINS), clusters) for p in patches])
    found = seen.scores("stem", "output", "value")
    torch.testing.assert_close(found, printed.double(), rtol=0, atol=1e-9)
    order = ip.split.rank(seen, "output", estimate="value")
    assert order.tolist() == printed.argsort(descending=True, stable=True).tolist()


def test_output_patches_are_clustered_by_all_their_pixels(pictures):
    """Section 3.1: M x M patches of the output, here M = 4 beside N = 2, clustered as they are."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2)).eval()
    x, view = pictures[0], ip.split.WholePatches(SIDE, bins=BINS)
    options = {"layers": ["0"], "clusters": CLUSTERS, "view": view, "progress": False}
    seen = ip.split.observe_tasks(model, [x], cells=4, **options)
    with torch.no_grad():
        features, output = model[0](x).numpy(), model(x)
    side = 2 * SIDE
    whole = output.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5).reshape(-1, 5 * side * side)
    clusters = KMeans(CLUSTERS, n_init="auto", random_state=0).fit(whole.numpy()).labels_
    printed = [paper.plug_in(paper.patterns(patches_of(features[:, i]), BINS), clusters) for i in range(5)]
    torch.testing.assert_close(seen.scores("0", "output", "value"), torch.tensor(printed).double(), rtol=0, atol=1e-9)
    averaged = ip.split.observe_tasks(model, [x], cells=1, **options)
    assert not torch.allclose(averaged.scores("0", "output", "value"), torch.tensor(printed).double(), atol=1e-4)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_binned_information_of_gaussians_tends_to_equation_4(rho):
    """I = log sqrt(1 / (1 - rho^2)); binning can only lose some, and 100,000 samples leave a bias of 0.002 nats."""
    covariance = torch.tensor([[1.0, rho], [rho, 1.0]]).double()
    exact = 0.5 * math.log(1 / float(torch.linalg.det(covariance)))  # eq. 2 with eq. 3
    assert exact == pytest.approx(math.log(math.sqrt(1 / (1 - rho**2))))
    x = (
        torch.randn(100_000, 2, generator=torch.Generator().manual_seed(0)).double()
        @ torch.linalg.cholesky(covariance).T
    )
    codes, labels = (mi.quantile_codes(column, 20) for column in x.split(1, dim=1))
    found = float(mi.binned(codes.double(), labels.flatten().long(), bins=20))
    assert found == pytest.approx(exact, abs=0.05)


def test_distortions_are_equations_8_and_9():
    full, selected, weights = {"a": 0.6, "b": 12.0}, {"a": 0.45, "b": 15.0}, {"a": 0.25, "b": 0.75}
    each = {task: ip.split.task_distortion(full[task], selected[task]) for task in full}
    assert each == pytest.approx({task: abs(full[task] - selected[task]) / full[task] for task in full})
    assert ip.split.total_distortion(each, weights) == pytest.approx(0.25 * 0.25 + 0.75 * 0.25)
