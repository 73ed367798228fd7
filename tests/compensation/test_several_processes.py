"""Several workers, each with its part of the pictures, all end with the same weights."""

import copy
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.compensation.tied_nets import Stream, keeping, pictures
from tests.two_processes import by_two

import infoprune as ip

IMAGE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)


def compensated_on(loader):
    torch.manual_seed(0)
    dense = Stream().double().eval()
    pruned = ip.prune_(copy.deepcopy(dense), IMAGE, keeping(dense, IMAGE, {"stem": [0, 2, 3, 6]}))
    return pruned, ip.compensate_(pruned, dense, loader, progress=False)


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.alone
def test_two_processes_equal_one(tmp_path):
    def work(rank):
        torch.set_num_threads(1)
        pruned, table = compensated_on(pictures(3, 8, 8)[2 * rank : 2 * rank + 2])
        save_file({name: t.contiguous() for name, t in pruned.state_dict().items()}, tmp_path / f"{rank}.safetensors")
        return table.fitted_on, table.held_out

    assert by_two(tmp_path, work) == [[84, 12]] * 2
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    whole = compensated_on(pictures(3, 8, 8))[0].state_dict()
    for name, tensor in whole.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], tensor, rtol=1e-8, atol=1e-10)
