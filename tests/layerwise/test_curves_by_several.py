"""Processes that share the trials of curves end with bitwise what one measures alone, or all with one error."""

import sys

import pytest
import torch
from tests.layerwise.test_curves import batches, measured, network
from tests.two_processes import together

from infoprune.errors import InfopruneError, UnusableData
from infoprune.processes import Processes, by_turns

pytestmark = [pytest.mark.alone, pytest.mark.skipif(sys.platform != "linux", reason="forks")]
WORLDS = pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])


@WORLDS
def test_several_processes_measure_bitwise_what_one_does(tmp_path, world):
    def work(rank):
        torch.set_num_threads(1)
        found = measured(network(), levels=(0.2, 0.4, 0.7))
        return {name: found.points(name) for name in found.sizes}

    torch.set_num_threads(1)
    alone = measured(network(), levels=(0.2, 0.4, 0.7))
    expected = {name: [list(point) for point in alone.points(name)] for name in alone.sizes}
    assert len(expected) == 2
    assert together(tmp_path, work, world) == [expected] * world


def test_each_process_makes_its_share_of_the_passes(tmp_path):
    def work(rank):
        torch.set_num_threads(1)
        return measured(network(), levels=(0.2, 0.4)).passes

    alone = measured(network(), levels=(0.2, 0.4)).passes  # two of the dense network, two for each of four trials
    assert alone == 10
    assert together(tmp_path, work) == [6, 6]


def test_processes_that_read_different_samples_are_told_so(tmp_path):
    def work(rank):
        torch.set_num_threads(1)
        with pytest.raises(UnusableData) as told:
            measured(network(), batches()[rank:])
        return str(told.value)

    for told in together(tmp_path, work):
        assert told.startswith("the 2 processes read different samples")


def test_an_error_of_one_process_is_raised_by_all(tmp_path):
    def job(number):
        if number == 1:
            raise UnusableData("job 1")
        if number == 3:
            raise ZeroDivisionError("job 3")
        return number

    def work(rank):
        said = []
        for jobs in (range(3), [0, 0, 0, 3], range(0, 9, 2)):
            try:
                said.append(by_turns(jobs, job))
            except (InfopruneError, ZeroDivisionError) as error:
                said.append([type(error).__name__, str(error)])
        return said

    first, second = together(tmp_path, work)
    assert first == [["UnusableData", "job 1"], ["InfopruneError", "ZeroDivisionError('job 3')"], [0, 2, 4, 6, 8]]
    assert second == [["UnusableData", "job 1"], ["ZeroDivisionError", "job 3"], [0, 2, 4, 6, 8]]


def test_one_process_does_all_jobs_and_raises_its_own_errors():
    assert by_turns("abc", str.upper) == ["A", "B", "C"]
    assert Processes.now().world == 1
    with pytest.raises(ZeroDivisionError):
        by_turns([0], lambda number: 1 / number)
