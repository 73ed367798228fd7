"""Where what left is linear in what stays, the compensated network is the dense one: every kind of reader."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.compensation.tied_nets import Heads, Joined, Stream, compensated, gap, keeping, pictures, tie_
from torch import nn
from transformers.pytorch_utils import Conv1D

import infoprune as ip

EXACT = 1e-9  # of the largest output, in double precision
IMAGE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)

READERS = {
    "3 x 3, padded": lambda: nn.Conv2d(8, 6, 3, padding=1),
    "strided": lambda: nn.Conv2d(8, 6, 3, stride=2, padding=1),
    "1 x 1, strided": lambda: nn.Conv2d(8, 6, 1, stride=2),
    "dilated, reflected borders": lambda: nn.Conv2d(8, 6, 3, dilation=2, padding=2, padding_mode="reflect"),
    "no bias and no norm": lambda: nn.Conv2d(8, 6, 3, padding=1, bias=False),
    "transposed": lambda: nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1),
}


def sequence(*layers):
    torch.manual_seed(0)
    return nn.Sequential(*layers).double().eval()


@pytest.mark.parametrize("reader", READERS)
def test_convolutions(reader):
    dense = sequence(nn.Conv2d(3, 8, 3, padding=1), READERS[reader](), nn.ReLU(), nn.Conv2d(6, 2, 1), nn.Flatten())
    kept = [0, 1, 4, 6, 7]
    tie_(kept, 8, dense[0].weight, dense[0].bias)
    pruned, table = compensated(dense, IMAGE, keeping(dense, IMAGE, {"0": kept}))
    assert table.rows[0].plain > 1e-3
    assert gap(dense, pruned, IMAGE) < EXACT


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_grouped_convolutions_have_a_system_in_each_group(kind):
    reader = kind(12, 6, 3, padding=1, groups=3)
    dense = sequence(nn.Conv2d(3, 12, 3, padding=1), reader, nn.ReLU(), nn.Conv2d(6, 2, 1), nn.Flatten())
    kept = [0, 2, 3]  # places in each group
    for group in range(3):
        rows = slice(4 * group, 4 * group + 4)
        tie_(kept, 4, dense[0].weight[rows], dense[0].bias[rows], seed=group)
    plan = keeping(dense, IMAGE, {"0": kept})
    pruned, _ = compensated(dense, IMAGE, plan)
    assert pruned[1].weight.numel() < dense[1].weight.numel()
    assert gap(dense, pruned, IMAGE) < EXACT


def test_a_norm_without_a_bias_in_front_takes_the_constant():
    dense = sequence(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 2, 1), nn.Flatten(),
    )  # fmt: skip
    for norm in (dense[1], dense[3]):
        nn.init.uniform_(norm.bias, 0.5, 1.5)
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
    kept = [0, 2, 3, 5, 7]
    tie_(kept, 8, dense[0].weight, dense[0].bias)
    pruned, _ = compensated(dense, IMAGE, keeping(dense, IMAGE, {"0": kept}))
    assert not torch.equal(pruned[3].running_mean, dense[3].running_mean)
    assert gap(dense, pruned, IMAGE) < EXACT


@pytest.mark.parametrize("seed", range(4))
def test_more_channels_than_there_is_to_say_with_means_far_above_their_spread(seed):
    torch.manual_seed(seed)
    dense = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 12, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3)
    )  # fmt: skip
    dense = dense.double().eval()
    with torch.no_grad():
        dense[0].bias += 3
    pruned, _ = compensated(dense, IMAGE, keeping(dense, IMAGE, {"1": [0, 2, 3, 4, 5, 6, 8, 10, 11]}))
    assert gap(dense, pruned, IMAGE) < EXACT


def test_linear_layers_behind_flattened_maps():
    dense = sequence(
        nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(6 * 16, 10), nn.Tanh(), nn.Linear(10, 3)
    )
    kept = [1, 2, 5]
    tie_(kept, 6, dense[0].weight, dense[0].bias)
    pruned, table = compensated(dense, IMAGE, keeping(dense, IMAGE, {"0": kept}))
    assert (table.rows[0].kept, table.rows[0].columns) == (3, 6)
    assert gap(dense, pruned, IMAGE) < EXACT


@pytest.mark.parametrize("layer", [nn.Linear, lambda i, o: Conv1D(o, i)], ids=["Linear", "Conv1D"])
def test_linear_layers_of_tokens(layer):
    dense = sequence(nn.Linear(6, 9), layer(9, 5), nn.Tanh(), nn.Linear(5, 2))
    x, kept = torch.zeros(2, 7, 6, dtype=torch.float64), [0, 3, 4, 8]
    tie_(kept, 9, dense[0].weight, dense[0].bias)
    pruned, _ = compensated(dense, x, keeping(dense, x, {"0": kept}))
    assert gap(dense, pruned, x) < EXACT


def test_depthwise_convolutions_are_made_up_for_by_the_layer_behind():
    dense = sequence(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1),
        nn.Flatten(),
    )  # fmt: skip
    kept = [0, 1, 2, 6]
    with torch.no_grad():
        dense[1].weight.copy_(dense[1].weight[:1].expand(8, -1, -1, -1))
    tie_(kept, 8, dense[0].weight, dense[0].bias, dense[1].bias)
    pruned, table = compensated(dense, IMAGE, keeping(dense, IMAGE, {"0": kept}))
    assert [row.reader for row in table.rows] == ["2"]
    assert gap(dense, pruned, IMAGE) < EXACT


def test_concatenated_inputs_are_solved_together():
    torch.manual_seed(0)
    dense = Joined().double().eval()
    with torch.no_grad():  # what leaves on the right is told by what stays on the left
        dense.right.weight[3:] = dense.left.weight[:3] - 2 * dense.left.weight[[3]]
        dense.right.bias[3:] = dense.left.bias[:3] - 2 * dense.left.bias[3]
    pruned, _ = compensated(dense, IMAGE, keeping(dense, IMAGE, {"right": [0, 1, 2]}))
    assert gap(dense, pruned, IMAGE) < EXACT


def test_every_reader_of_a_residual_stream_has_its_own_system():
    torch.manual_seed(0)
    dense, kept = Stream().double().eval(), [0, 2, 3, 6]
    writers = (dense.stem, dense.write1, dense.write2)
    tie_(kept, 8, *(w.weight for w in writers), *(w.bias for w in writers))
    pruned, table = compensated(dense, IMAGE, keeping(dense, IMAGE, {"stem": kept}))
    assert {row.reader for row in table.rows} == {"read1", "read2", "head"}
    assert gap(dense, pruned, IMAGE) < EXACT


def test_attention_s_output_projection_says_what_a_head_said():
    torch.manual_seed(0)
    dense, x = Heads().double().eval(), torch.zeros(2, 5, 6, dtype=torch.float64)
    values = slice(16, 24)
    tie_([0, 1, 2, 3], 8, dense.qkv.weight[values], dense.qkv.bias[values])
    pruned, table = compensated(dense, x, keeping(dense, x, {"qkv": [0]}))
    assert [row.reader for row in table.rows] == ["out"]
    assert gap(dense, pruned, x) < EXACT


def test_several_plans_in_a_row_are_followed():
    dense = sequence(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 2, 1), nn.Flatten()
    )
    tie_([1, 3, 4, 6], 8, dense[0].weight, dense[0].bias)
    pruned = copy.deepcopy(dense)
    for kept in ([1, 2, 3, 4, 6, 7], [0, 2, 3, 4]):  # the second counts what the first left
        ip.prune_(pruned, IMAGE, keeping(pruned, IMAGE, {"0": kept}))
    ip.compensate_(pruned, dense, pictures(3, 8, 8), progress=False)
    assert gap(dense, pruned, IMAGE) < EXACT


@settings(max_examples=15)
@given(st.data())
def test_random_networks(data):
    width, groups = data.draw(st.sampled_from([4, 6, 8, 12])), data.draw(st.sampled_from([1, 2]))
    kernel, stride = data.draw(st.sampled_from([1, 2, 3])), data.draw(st.sampled_from([1, 2]))
    bias, transposed = data.draw(st.booleans()), data.draw(st.booleans())
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    reader = kind(width, 4, kernel, stride, padding=kernel // 2, groups=groups, bias=bias)
    torch.manual_seed(data.draw(st.integers(0, 99)))
    dense = nn.Sequential(nn.Conv2d(2, width, 3, padding=1), reader, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    dense = dense.double().eval()
    x = torch.zeros(2, 2, 6, 6, dtype=torch.float64)
    dense(x)
    places = width // groups
    kept = sorted(data.draw(st.sets(st.integers(0, places - 1), min_size=1, max_size=places - 1)))
    for group in range(groups):
        rows = slice(places * group, places * (group + 1))
        tie_(kept, places, dense[0].weight[rows], dense[0].bias[rows], seed=group)
    pruned, _ = compensated(dense, x, keeping(dense, x, {"0": kept}))
    assert gap(dense, pruned, x) < EXACT
