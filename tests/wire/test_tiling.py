"""Features side by side, and their eight-bit levels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from infoprune.errors import BadFeatures
from infoprune.wire import dequantise, quantise, tile, untile

sizes = st.integers(1, 9)


@settings(max_examples=30)
@given(st.integers(1, 40), sizes, sizes)
def test_untile_gives_back_what_was_tiled(count, height, width):
    maps = torch.arange(count * height * width).view(count, height, width)
    assert torch.equal(untile(tile(maps), count), maps)


def test_every_feature_stands_in_its_place():
    mosaic = tile(torch.arange(5, dtype=torch.uint8).view(5, 1, 1).expand(5, 2, 3))
    expected = torch.tensor([[0, 1, 2, 3], [4, 0, 0, 0]], dtype=torch.uint8)
    assert torch.equal(mosaic, expected.repeat_interleave(2, 0).repeat_interleave(3, 1))


def test_the_papers_256_features_of_32_by_64_make_a_mosaic_of_512_by_1024():
    assert tile(torch.zeros(256, 32, 64, dtype=torch.uint8)).shape == (512, 1024)


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 4), (3, 0, 4)])
def test_what_is_not_maps_is_refused(shape):
    with pytest.raises(ValueError, match="give at least one map"):
        tile(torch.zeros(shape))


def test_a_mosaic_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="does not hold 5 maps in 2 x 4"):
        untile(torch.zeros(3, 8), 5)


def test_256_evenly_spaced_values_are_the_256_levels():
    steps = torch.arange(256).view(1, 16, 16)
    levels, ranges = quantise(steps * 0.25 - 3)
    assert torch.equal(levels, steps.to(torch.uint8))
    assert ranges.tolist() == [[-3, 60.75]]
    assert torch.equal(dequantise(levels, ranges, torch.float32), steps * 0.25 - 3)


values = arrays("float32", (3, 2, 4), elements=st.floats(-(2.0**100), 2.0**100, width=32))


@settings(max_examples=30)
@given(values)
def test_no_value_moves_by_more_than_half_a_level(array):
    features = torch.from_numpy(array)
    levels, ranges = quantise(features)
    moved = (dequantise(levels, ranges, torch.float64) - features.double()).abs().flatten(1).amax(1)
    span = ranges[:, 1].double() - ranges[:, 0].double()
    assert (moved <= span / 510 * (1 + 1e-9)).all()


@settings(max_examples=30)
@given(values)
def test_the_smallest_value_and_constants_come_back_exactly_and_again_is_the_same(array):
    features = torch.from_numpy(array)
    features[0] = features[0, 0, 0]
    levels, ranges = quantise(features)
    back = dequantise(levels, ranges, torch.float32)
    assert torch.equal(back[0], features[0])
    assert torch.equal(back.flatten(1).amin(1), features.flatten(1).amin(1))
    assert torch.equal(quantise(dequantise(levels, ranges, torch.float64))[0], levels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_keep_their_type_and_range(dtype):
    features = torch.tensor([[[-2.0, 0.5, 3.0]]], dtype=dtype)
    back = dequantise(*quantise(features), dtype)
    assert back.dtype == dtype
    assert (back - features).abs().max() <= 5 / 510 + 2**-7


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_values_without_a_range_are_refused(odd):
    features = torch.zeros(3, 2, 2)
    features[1, 0, 1] = odd
    with pytest.raises(BadFeatures, match="map 1 of those sent holds NaN"):
        quantise(features)


def test_a_double_beyond_single_precision_is_refused():
    with pytest.raises(BadFeatures, match="beyond float32"):
        quantise(torch.full((1, 1, 1), 1e300, dtype=torch.float64))
