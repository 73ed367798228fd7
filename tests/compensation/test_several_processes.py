"""Several workers, each with its part of the pictures, all end with the same weights."""

import copy
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.compensation.tied_nets import Stream, keeping, pictures
from tests.two_processes import together

import infoprune as ip
from infoprune.compensation.compensating import compensate_together_
from infoprune.data import Examples, First

IMAGE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)


def halved():
    torch.manual_seed(0)
    dense = Stream().double().eval()
    plan = keeping(dense, IMAGE, {"stem": [0, 2, 3, 6]})
    return dense, ip.prune_(copy.deepcopy(dense), IMAGE, plan), plan


# Each process holds out its own samples by turns of sixteen: the same ones as alone where it has a multiple of these.
def compensated_on(loader):
    dense, pruned, _ = halved()
    return pruned, ip.compensate_(pruned, dense, loader, progress=False)


class Noise(Examples):
    """192 pictures of noise."""

    def __init__(self, size):
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(192, 3, size, size, generator=generator, dtype=torch.float64).square()

    def __len__(self):
        return len(self.images)

    def batch(self, epoch, indices):
        return self.images[list(indices)], torch.zeros(len(indices))


def compensated_on_a_share(size, batch, rank=0, world=1):
    """As a recipe does it: whole batches by turns, and each process knows which samples it has."""
    dense, pruned, plan = halved()
    share = First(Noise(size), 192, batch, 0, rank, world)
    [table] = compensate_together_([(pruned, [plan])], dense, share, 192, progress=False, places=share.places)
    return pruned.state_dict(), table


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


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.alone
@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("size", "batch"), [(8, 8), (24, 48)])  # of large maps places are drawn, batch by batch
def test_batches_by_turns_are_those_of_one_process(tmp_path, size, batch, world):
    def work(rank):
        weights, table = compensated_on_a_share(size, batch, rank, world)
        save_file({name: t.contiguous() for name, t in weights.items()}, tmp_path / f"{rank}.safetensors")
        return table.fitted_on, table.held_out

    weights, table = compensated_on_a_share(size, batch)
    assert together(tmp_path, work, world) == [[table.fitted_on, table.held_out]] * world
    assert all(row.taken for row in table.rows)
    for name, tensor in load_file(tmp_path / "0.safetensors").items():
        torch.testing.assert_close(tensor, weights[name], rtol=1e-8, atol=1e-10)
