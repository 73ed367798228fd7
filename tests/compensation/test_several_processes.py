"""Several workers, each with its part of the pictures, all end with the same weights."""

import copy
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.compensation.tied_nets import Stream, keeping, pictures
from tests.two_processes import together

import infoprune as ip

IMAGE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)


# Each process holds out its own samples by turns of sixteen: the same ones as alone where it has a multiple of these.
def compensated_on(loader):
    torch.manual_seed(0)
    dense = Stream().double().eval()
    pruned = ip.prune_(copy.deepcopy(dense), IMAGE, keeping(dense, IMAGE, {"stem": [0, 2, 3, 6]}))
    return pruned, ip.compensate_(pruned, dense, loader, progress=False)


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.alone
@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_equal_one(tmp_path, world):
    def work(rank):
        torch.set_num_threads(1)
        each = 4 // world
        pruned, table = compensated_on(pictures(3, 8, 8, batch=32)[each * rank : each * (rank + 1)])
        save_file({name: t.contiguous() for name, t in pruned.state_dict().items()}, tmp_path / f"{rank}.safetensors")
        return table.fitted_on, table.held_out

    assert together(tmp_path, work, world) == [[112, 16]] * world
    first, *others = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(world))
    whole = compensated_on(pictures(3, 8, 8, batch=32))[0].state_dict()
    for name, tensor in whole.items():
        assert all(torch.equal(first[name], other[name]) for other in others)
        torch.testing.assert_close(first[name], tensor, rtol=1e-8, atol=1e-10)
