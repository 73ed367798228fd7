"""Forward passes side by side, and readers that are refitted to what arrives."""

import copy
import threading

import numpy as np
import pytest
import torch
from tests.compensation.tied_nets import keeping, pictures
from torch import nn

import infoprune as ip
from infoprune.compensation.halting import Pass, halting
from infoprune.compensation.holding import Held
from infoprune.errors import UnusableData
from infoprune.observe.batches import read

IMAGE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)


def chain(*layers):
    torch.manual_seed(0)
    return nn.Sequential(*layers).double().eval()


def passes():
    """How many threads there are beside the main one and the progress bar's."""
    return sum(type(thread) is threading.Thread for thread in threading.enumerate())


def one_batch(x):
    return next(iter(read([x])))


def test_a_pass_halts_at_every_layer_and_goes_on_with_the_weights_it_finds_then():
    model, x = chain(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(5, 3).double()
    with halting(model, ["0", "2"]):
        walk = Pass(model, one_batch(x), Held())
        walk.go_on()
        assert walk.at == "0"
        assert torch.equal(walk.seen[0], x)
        with torch.no_grad():
            model[0].weight.zero_()
        [seen] = walk.until("2")
        assert torch.equal(seen, model[0].bias.tanh().expand(5, -1))
        walk.go_on()
        assert walk.ended
    assert not any(layer._forward_pre_hooks or layer._forward_hooks for layer in model)


def test_a_pass_may_halt_after_layers_with_what_they_gave_out():
    model, x = chain(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(5, 3).double()
    with halting(model, ["2"]):
        walk = Pass(model, one_batch(x), Held(), after=True)
        read_, gave = walk.until("2")
        walk.cancel()
    assert torch.equal(gave, model(x))
    assert torch.equal(read_, model[:2](x))


def test_what_a_model_raises_is_raised_where_its_pass_goes_on():
    model = chain(nn.Linear(3, 4))
    walk = Pass(model, one_batch(torch.randn(5, 7).double()), Held())
    with pytest.raises(UnusableData, match="can't run"):
        walk.go_on()
    assert walk.ended


def test_a_cancelled_pass_leaves_no_thread():
    model, before = chain(nn.Linear(3, 4), nn.Linear(4, 2)), passes()
    with halting(model, ["1"]):
        begun, fresh = (Pass(model, one_batch(torch.randn(5, 3).double()), Held()) for _ in range(2))
        begun.go_on()
        assert passes() == before + 2
        begun.cancel(), fresh.cancel()
    assert passes() == before


class Interrupted(nn.Module):
    """Raises once told to."""

    armed = False

    def forward(self, x):
        if self.armed:
            raise KeyboardInterrupt
        return x


def test_an_interrupt_in_the_midst_of_a_network_leaves_model_and_threads_as_they_were(monkeypatch):
    dense = chain(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Conv2d(8, 6, 1), nn.Tanh(), Interrupted(), nn.Conv2d(6, 2, 1))
    pruned = ip.prune_(copy.deepcopy(dense), IMAGE, keeping(dense, IMAGE, {"0": [0, 1, 2, 3]}))
    before, threads = copy.deepcopy(pruned.state_dict()), passes()
    solved = "infoprune.compensation.lockstep.refit_in_place"

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(solved, interrupt)
    with pytest.raises(KeyboardInterrupt):
        ip.compensate_(pruned, dense, pictures(3, 8, 8), progress=False)
    assert all(torch.equal(before[name], tensor) for name, tensor in pruned.state_dict().items())
    assert passes() == threads
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in [*dense.modules()])


def test_a_reader_behind_refitted_ones_is_as_good_as_least_squares_on_what_arrives():
    dense = chain(nn.Conv2d(3, 8, 1), nn.Tanh(), nn.Conv2d(8, 8, 1), nn.Tanh(), nn.Conv2d(8, 5, 1), nn.Flatten())
    half = {"0": [0, 1, 2, 3], "2": [1, 3, 5, 7]}
    pruned = ip.prune_(copy.deepcopy(dense), IMAGE, keeping(dense, IMAGE, half))
    loader = pictures(3, 8, 8)
    row = ip.compensate_(pruned, dense, loader, progress=False).rows[-1]
    with torch.no_grad():
        x = torch.cat(loader)
        want, z = (t.movedim(1, -1).flatten(1, 2).numpy() for t in (dense[:5](x), pruned[:4](x)))
    held = np.isin(np.arange(len(x)) % 16, (3, 15))
    columns = np.concatenate([z, np.ones((*z.shape[:2], 1))], -1)
    fit, *_ = np.linalg.lstsq(columns[~held].reshape(-1, 5), want[~held].reshape(-1, 5), rcond=None)
    gap = want[held] - columns[held] @ fit
    spread = want[held] - want[~held].mean((0, 1))
    assert row.reader == "4"
    best = float((gap**2).sum() / (spread**2).sum())
    assert row.refitted == pytest.approx(best, rel=0.01)  # a ridge is all that differs
    assert row.refitted < 0.5 * row.plain


def test_a_loader_of_single_pictures_gives_what_large_batches_give_in_as_few_passes(monkeypatch):
    dense = chain(nn.Conv2d(3, 8, 1), nn.Tanh(), nn.Conv2d(8, 8, 3), nn.Tanh(), nn.Conv2d(8, 5, 1))
    whole, found, most = torch.cat(pictures(3, 8, 8)), [], []
    begin = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda thread: (begin(thread), most.append(passes()))[0])
    for size in (1, 24):
        pruned = ip.prune_(copy.deepcopy(dense), IMAGE, keeping(dense, IMAGE, {"0": [0, 1, 2, 3], "2": [1, 3, 5, 7]}))
        ip.compensate_(pruned, dense, list(whole.split(size)), progress=False)
        found.append(pruned.state_dict())
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, rtol=1e-6, atol=1e-8)  # sums in another order
    assert max(most) <= 16


class Twice(nn.Module):
    """One layer reads two maps."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = self.stem(x).tanh()
        return torch.cat([self.head(x).flatten(1), self.head(nn.functional.avg_pool2d(x, 2)).flatten(1)], 1)


def test_a_layer_that_is_called_twice_is_refitted_to_both_of_its_inputs():
    torch.manual_seed(0)
    dense = Twice().double().eval()
    pruned = ip.prune_(copy.deepcopy(dense), IMAGE, keeping(dense, IMAGE, {"stem": [0, 1, 2, 3, 4, 5]}))
    table = ip.compensate_(pruned, dense, pictures(3, 8, 8), progress=False)
    assert [row.reader for row in table.rows] == ["head"]
    [row] = table.rows
    assert row.refitted < row.plain
    assert table.outputs["readers"] < table.outputs["plain"]
