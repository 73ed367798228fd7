"""measure(): our counter against torch's, and against arithmetic."""

import pytest
import torch
from torch import nn

import infoprune as ip
from tests.small_nets import NETS, image, make
from tests.torch_flops import torch_flops


@pytest.mark.parametrize("net", NETS)
def test_macs_are_half_of_what_torch_counts_as_flops(net):
    model = make(net).requires_grad_(False)
    assert 2 * ip.measure(model, image()).macs == torch_flops(model, image())


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Linear(5, 7), (3, 5), 3 * 5 * 7),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), (1, 4, 8, 8), 4 * 4 * 4 * 6 * 9),
        (nn.Conv2d(4, 8, 3, groups=2), (2, 4, 5, 5), 2 * 9 * 8 * 2 * 9),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (1, 4, 3, 3), 9 * 4 * 6 * 4),
        (nn.Conv1d(2, 3, 5), (1, 2, 9), 5 * 2 * 3 * 5),
        (nn.LSTM(3, 4), (6, 1, 3), 6 * (3 * 16 + 4 * 16)),
        (nn.BatchNorm2d(4), (1, 4, 8, 8), 0),
        (nn.MultiheadAttention(8, 2, batch_first=True), None, 5 * 8 * 32 + 2 * 5 * 5 * 8),
    ],
)
def test_one_multiply_add_is_one_mac(layer, shape, macs):
    inputs = (torch.randn(shape),) if shape else (torch.randn(1, 5, 8),) * 3
    assert ip.measure(layer.eval(), inputs).macs == macs


def test_measuring_leaves_the_mode_alone_and_times_when_asked():
    model = make(NETS[0]).train()
    found = ip.measure(model, image(), latency=True)
    assert model.training
    assert found.latency_ms > 0
    assert found.latency_quartiles_ms[0] <= found.latency_ms <= found.latency_quartiles_ms[1]
    assert found.threads == torch.get_num_threads()
    assert "ms" in str(found)


def test_shared_parameters_are_counted_once():
    layer = nn.Linear(4, 4)
    assert ip.measure(nn.Sequential(layer, layer), torch.randn(1, 4)).params == 20
