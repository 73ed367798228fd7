"""What halted passes hold: bounded in memory, the rest in a file, and the same numbers either way."""

import copy
import errno
import gc
import io
import threading

import pytest
import torch
from tests.compensation.tied_nets import Stream, keeping, pictures
from torch import nn

import infoprune as ip
from infoprune.compensation import holding, lockstep
from infoprune.compensation.halting import Pass, halting
from infoprune.compensation.holding import Held
from infoprune.observe.batches import read

IMAGE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)


@pytest.fixture
def everything_leaves(monkeypatch):
    monkeypatch.setattr(holding, "HELD", 0)
    monkeypatch.setattr(holding, "LEAST", 1)


def compensated(loader):
    torch.manual_seed(0)
    dense = Stream().double().eval()
    pruned = ip.prune_(copy.deepcopy(dense), IMAGE, keeping(dense, IMAGE, {"stem": [0, 2, 3, 6], "read1": [0, 1, 4]}))
    ip.compensate_(pruned, dense, loader, progress=False)
    return pruned.state_dict()


def test_weights_are_bitwise_the_same_when_all_that_passes_hold_goes_through_the_file(monkeypatch):
    held = compensated(pictures(3, 8, 8))
    monkeypatch.setattr(holding, "HELD", 0)
    monkeypatch.setattr(holding, "LEAST", 1)
    written = []
    monkeypatch.setattr(Held, "_write", lambda *args, write=Held._write: (written.append(1), write(*args)))
    through = compensated(pictures(3, 8, 8))
    assert len(written) > 20
    assert all(torch.equal(held[name], through[name]) for name in held)


def live_bytes():
    """Of all tensors that there are."""
    tensors = [x for x in gc.get_objects() if type(x) is torch.Tensor]
    return sum({id(s): s.nbytes() for s in (x.untyped_storage() for x in tensors)}.values())


def most_held(monkeypatch, count):
    """The most bytes of tensors at any solution of a reader, with this many batches of pictures."""
    found, solve = [], lockstep.refit_in_place
    monkeypatch.setattr(lockstep, "refit_in_place", lambda *a, **k: (found.append(live_bytes()), solve(*a, **k))[1])
    before = live_bytes()

    class Loader:
        def __iter__(self):
            return (pictures(3, 8, 8, count=1, seed=seed)[0] for seed in range(count))

    compensated(Loader())
    return max(found) - before


@pytest.mark.parametrize("bounded", [True, False])
def test_memory_does_not_grow_with_the_pictures_beyond_the_bound(monkeypatch, bounded):
    monkeypatch.setattr(holding, "LEAST", 1)
    if bounded:
        monkeypatch.setattr(holding, "HELD", 1 << 18)
    few, many = (most_held(monkeypatch, count) for count in (4, 16))
    assert few > 1 << 18
    assert (many < 1.1 * few) is bounded  # without the bound it is four times as much


def one_batch(x):
    return next(iter(read([x])))


class ByPython(nn.Module):
    """Reads a tensor that it made before a halt without any operation."""

    def __init__(self, how):
        super().__init__()
        self.how, self.layer = how, nn.Linear(3, 4).double()

    def forward(self, x):
        x = x + 1
        self.layer(x)
        return x.new_tensor(self.how(x))


@pytest.mark.parametrize("how", [torch.Tensor.tolist, torch.Tensor.numpy])
def test_python_reads_what_lies_in_the_file(everything_leaves, how):
    model, x = ByPython(how), torch.randn(5, 3).double()
    found = []
    model.register_forward_hook(lambda _, __, output: found.append(output))
    with Held() as memory, halting(model, ["layer"]), torch.no_grad():
        walk = Pass(model, one_batch(x.clone()), memory)
        walk.until("layer")
        walk.rest()
        assert memory.bytes == 0
        walk.go_on()
    assert torch.equal(found[0], x + 1)


class Caching(nn.Module):
    """Keeps a table that its first pass made, for all others."""

    def __init__(self):
        super().__init__()
        self.table, self.layer = None, nn.Linear(3, 3).double()

    def forward(self, x):
        self.table = torch.arange(3.0).double() + 1 if self.table is None else self.table
        return self.layer(x) * self.table


def test_a_table_that_one_pass_made_serves_the_others_and_outlives_the_file(everything_leaves):
    model, x = Caching(), torch.randn(5, 3).double()
    found = []
    model.register_forward_hook(lambda _, __, output: found.append(output.clone()))
    with Held() as memory, halting(model, ["layer"]), torch.no_grad():
        walks = [Pass(model, one_batch(x.clone()), memory) for _ in range(2)]
        for walk in walks:
            walk.until("layer")
            walk.rest()
        assert model.table.untyped_storage().nbytes() == 0
        for walk in walks:
            walk.go_on()
            walk.rest()
    assert torch.equal(model.table, torch.arange(3.0).double() + 1)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], model(x))


def test_what_is_written_over_is_written_to_the_file_anew(everything_leaves):
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(3, 3).double(), nn.Linear(3, 3).double()

        def forward(self, x):
            y = x * 2
            self.one(x)
            y.add_(1)
            self.two(x)
            return y

    model, x = InPlace(), torch.randn(5, 3).double()
    found = []
    model.register_forward_hook(lambda _, __, output: found.append(output))
    with Held() as memory, halting(model, ["one", "two"]), torch.no_grad():
        walk = Pass(model, one_batch(x.clone()), memory)
        for name in ("one", "two"):
            walk.until(name)
            walk.rest()
        walk.go_on()
    assert torch.equal(found[0], 2 * x + 1)


def test_places_in_the_file_are_used_again():
    memory = Held()
    one, two, three = (memory._taken(size) for size in (100, 50, 100))
    memory._give(one, 100)
    memory._give(two, 150)
    assert memory._taken(150) == 0
    memory._give(three, 250)
    assert memory._taken(10) == 150


class Full(io.RawIOBase):
    def seekable(self):
        return True

    def seek(self, place, whence=0):
        return place

    def write(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_and_changes_nothing(everything_leaves, monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Full())
    torch.manual_seed(0)
    dense = Stream().double().eval()
    pruned = ip.prune_(copy.deepcopy(dense), IMAGE, keeping(dense, IMAGE, {"stem": [0, 2, 3, 6]}))
    before, threads = copy.deepcopy(pruned.state_dict()), threading.active_count()
    with pytest.raises(OSError, match=r"No space left on device at .* let TMPDIR name a place with more room"):
        ip.compensate_(pruned, dense, pictures(3, 8, 8), progress=False)
    assert all(torch.equal(before[name], tensor) for name, tensor in pruned.state_dict().items())
    assert threading.active_count() == threads
