"""Several workers, each with its part of the data, arrive at what one would have seen."""

import multiprocessing
import sys
import warnings

import pytest
import torch
import torch.distributed as dist
from tests.observe.observed_nets import Small, batches

import infoprune as ip
from infoprune.observe import Observations


def observe_part(rank, directory):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{directory}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    data = batches(5)
    part = data[:2] if rank == 0 else data[2:]
    ip.observe(Small(), part, progress=False).all_reduce().save(f"{directory}/{rank}.safetensors")
    dist.destroy_process_group()


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_two_processes_equal_one(tmp_path):
    forks = multiprocessing.get_context("fork")
    workers = [forks.Process(target=observe_part, args=(rank, str(tmp_path))) for rank in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside idle threads
        for worker in workers:
            worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    torch.manual_seed(0)
    whole = ip.observe(Small(), batches(5), progress=False)
    for rank in range(2):
        seen = Observations.load(tmp_path / f"{rank}.safetensors")
        assert seen.samples == whole.samples
        for a, b in zip(seen.compute(), whole.compute(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
