"""Several workers, each with its part of the data, arrive at what one would have seen."""

import sys

import pytest
import torch
from tests.observe.observed_nets import Small, batches
from tests.two_processes import together

import infoprune as ip
from infoprune.observe import Observations


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.alone
@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_equal_one(tmp_path, world):
    def work(rank):
        torch.set_num_threads(1)
        torch.manual_seed(0)
        data, ends = batches(5), {2: (0, 2, 5), 4: (0, 1, 2, 4, 5)}[world]
        part = data[ends[rank] : ends[rank + 1]]
        ip.observe(Small(), part, progress=False).all_reduce().save(tmp_path / f"{rank}.safetensors")

    together(tmp_path, work, world)
    torch.manual_seed(0)
    whole = ip.observe(Small(), batches(5), progress=False)
    for rank in range(world):
        seen = Observations.load(tmp_path / f"{rank}.safetensors")
        assert seen.samples == whole.samples
        for a, b in zip(seen.compute(), whole.compute(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
