"""Several workers, each with its part of the data, arrive at what one would have seen."""

import sys

import pytest
import torch
from tests.observe.observed_nets import Small, batches
from tests.two_processes import by_two

import infoprune as ip
from infoprune.observe import Observations


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.alone
def test_two_processes_equal_one(tmp_path):
    def work(rank):
        torch.set_num_threads(1)
        torch.manual_seed(0)
        data = batches(5)
        part = data[:2] if rank == 0 else data[2:]
        ip.observe(Small(), part, progress=False).all_reduce().save(tmp_path / f"{rank}.safetensors")

    by_two(tmp_path, work)
    torch.manual_seed(0)
    whole = ip.observe(Small(), batches(5), progress=False)
    for rank in range(2):
        seen = Observations.load(tmp_path / f"{rank}.safetensors")
        assert seen.samples == whole.samples
        for a, b in zip(seen.compute(), whole.compute(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
