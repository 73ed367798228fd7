"""Several workers, each with its part of the pictures, all end with the same weights."""

import copy
import multiprocessing
import sys
import warnings

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from tests.compensation.tied_nets import Stream, keeping, pictures

import infoprune as ip

IMAGE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)


def compensated_on(loader):
    torch.manual_seed(0)
    dense = Stream().double().eval()
    pruned = ip.prune_(copy.deepcopy(dense), IMAGE, keeping(dense, IMAGE, {"stem": [0, 2, 3, 6]}))
    return pruned, ip.compensate_(pruned, dense, loader, progress=False)


def work(rank, directory):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{directory}/meet", rank=rank, world_size=2)
    pruned, table = compensated_on(pictures(3, 8, 8)[2 * rank : 2 * rank + 2])
    assert (table.fitted_on, table.held_out) == (84, 12)
    save_file({name: t.contiguous() for name, t in pruned.state_dict().items()}, f"{directory}/{rank}.safetensors")
    dist.destroy_process_group()


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_two_processes_equal_one(tmp_path):
    forks = multiprocessing.get_context("fork")
    workers = [forks.Process(target=work, args=(rank, str(tmp_path))) for rank in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside idle threads
        for worker in workers:
            worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    whole = compensated_on(pictures(3, 8, 8))[0].state_dict()
    for name, tensor in whole.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], tensor, rtol=1e-8, atol=1e-10)
