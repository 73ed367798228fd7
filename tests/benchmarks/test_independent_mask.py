"""The judge of certificates finds what is wrong and passes what is right, on networks that are pruned by hand."""

import copy
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from independent_mask import NotComparable, ShapesDiffer, compare, distinct, tensors_in
from torch import nn

KEPT = [0, 2, 3, 5]


def network(middle):
    torch.manual_seed(0)
    return distinct(nn.Sequential(nn.Linear(4, 6), middle, nn.Linear(6, 3)))


def cut(dense, *, middle, reads=KEPT):
    """Rows KEPT of the first layer and columns `reads` of the last stay."""
    pruned = copy.deepcopy(dense)
    pruned[0].weight = nn.Parameter(dense[0].weight[KEPT])
    pruned[0].bias = nn.Parameter(dense[0].bias[KEPT])
    pruned[2].weight = nn.Parameter(dense[2].weight[:, reads])
    pruned[1] = middle(dense[1])
    return pruned


def norm(small):
    def narrowed(dense):
        made = small.double()
        made.weight = nn.Parameter(dense.weight[KEPT])
        if getattr(dense, "bias", None) is not None:
            made.bias = nn.Parameter(dense.bias[KEPT])
        return made

    return narrowed


INPUT = (torch.randn(5, 4),)


def test_a_right_removal_is_equal_up_to_rounding():
    dense = network(nn.ReLU())
    assert compare(dense, cut(dense, middle=copy.deepcopy), INPUT).relative < 1e-14


def test_a_reader_that_lost_other_columns_is_found():
    dense = network(nn.ReLU())
    assert compare(dense, cut(dense, middle=copy.deepcopy, reads=[0, 1, 3, 5]), INPUT).relative > 1e-2


def test_columns_in_another_order_are_found():
    dense = network(nn.ReLU())
    assert compare(dense, cut(dense, middle=copy.deepcopy, reads=[2, 0, 3, 5]), INPUT).relative > 1e-2


@pytest.mark.parametrize(
    ("whole", "small"),
    [
        (nn.LayerNorm(6), nn.LayerNorm(4)),
        (nn.RMSNorm(6), nn.RMSNorm(4)),
        (nn.GroupNorm(2, 6), nn.GroupNorm(2, 4)),
    ],
    ids=["layer norm", "rms norm", "group norm"],
)
def test_norms_take_their_statistics_over_what_is_kept(whole, small):
    dense = network(whole)
    compared = compare(dense, cut(dense, middle=norm(small)), INPUT)
    assert compared.redone == (type(whole).__name__,)
    assert compared.relative < 1e-14


def test_a_norm_without_weights_finds_the_kept_channels_by_their_zeros():
    dense = network(nn.LayerNorm(6, elementwise_affine=False))
    small = cut(dense, middle=lambda _: nn.LayerNorm(4, elementwise_affine=False))
    assert compare(dense, small, INPUT).relative < 1e-14


def test_a_norm_with_other_weights_than_its_channels_is_found():
    dense = network(nn.LayerNorm(6))
    pruned = cut(dense, middle=norm(nn.LayerNorm(4)))
    pruned[1].weight = nn.Parameter(dense[1].weight[[0, 1, 3, 5]])
    assert compare(dense, pruned, INPUT).relative > 1e-2


def test_an_average_that_the_code_takes_itself_differs():
    class Average(nn.Module):
        def forward(self, x):
            return x - x.mean(-1, keepdim=True)

    dense = network(Average())
    assert compare(dense, cut(dense, middle=copy.deepcopy), INPUT).relative > 1e-3


def test_values_that_changed_are_not_taken_for_a_removal():
    dense = network(nn.ReLU())
    pruned = copy.deepcopy(dense)
    with torch.no_grad():
        pruned[0].bias.add_(1)
    with pytest.raises(NotComparable, match="old shape and other values"):
        compare(dense, pruned, INPUT)
    pruned = cut(dense, middle=copy.deepcopy)
    with torch.no_grad():
        pruned[0].bias.add_(1)
    with pytest.raises(NotComparable, match="of which 0 are in the dense model"):
        compare(dense, pruned, INPUT)


def test_an_output_of_another_width_is_found():
    dense = network(nn.ReLU())
    pruned = copy.deepcopy(dense)
    pruned[2].weight, pruned[2].bias = nn.Parameter(dense[2].weight[:2]), nn.Parameter(dense[2].bias[:2])
    with pytest.raises(ShapesDiffer, match=r"\(5, 2\)"):
        compare(dense, pruned, INPUT)


def test_outputs_are_found_whatever_they_are_packed_in():
    @dataclass
    class Packed:
        a: torch.Tensor
        b: object

    class KeyCache:
        def __init__(self):
            self.keys = torch.zeros(1)

    inner = SimpleNamespace(c=torch.tensor(2), d=[{"e": torch.tensor(3)}, None, 1.0], f=KeyCache())
    inner.itself = inner
    assert [int(t) for t in tensors_in((Packed(torch.tensor(1), inner),))] == [1, 2, 3]


def test_no_two_weights_are_alike_and_variances_are_positive():
    model = distinct(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.LayerNorm(8)))
    for tensor in [*model.parameters(), model[1].running_mean, model[1].running_var]:
        assert tensor.dtype == torch.float64
        assert tensor.unique().numel() == tensor.numel()
    assert (model[1].running_var > 0).all()
