"""Running a model to look at it leaves no trace in it."""

from collections import deque

import torch
import torch_pruning as tp
from torch import Tensor, nn

import infoprune as ip


class Counts(nn.Module):
    """Counts its calls and keeps what it saw, in all the ways people do."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.head = nn.Linear(8, 16), nn.Linear(16, 3)
        self.calls, self.seen, self.last, self.by_size = 0, [], deque(maxlen=2), {}

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(float(x.sum()))
        self.last.append(x)
        self.by_size[len(x)] = self.calls
        self.made_here = True
        return self.head(self.wide(x).relu())


def test_counters_and_lists_of_a_model_are_as_they_were(tmp_path):
    torch.manual_seed(0)
    model, x = Counts().eval(), torch.randn(4, 8)
    model(x)
    seen, last = model.seen, model.last
    plan = ip.plan(model, x, tp.importance.MagnitudeImportance(p=2), rates=0.5)
    ip.certificate_of(model, x, plan)
    ip.prune_(model, x, plan)
    ip.measure(model, x)
    ip.save(tmp_path / "saved", model, plan, factory=Counts)
    assert (model.calls, model.by_size, len(seen), len(last)) == (1, {4: 1}, 1, 1)
    assert model.seen is seen
    assert model.last is last


GIVEN: list[Tensor] = []


class HooksItself(nn.Module):
    """Records by hooks what its layers give out, as transformers' models do; they are put on at the first call."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 12), nn.Linear(12, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "is_hooked"):
            self.is_hooked = True
            for layer in (self.first, self.second):
                layer.register_forward_hook(lambda _, __, output: GIVEN.append(output))
        GIVEN.clear()
        self.second(self.first(x).relu())
        _, last = GIVEN
        return self.head(last)


def test_a_model_that_hooks_itself_is_hooked_once():
    torch.manual_seed(0)
    model, x = HooksItself().eval(), torch.randn(4, 8)
    expected = model(x)
    for network in (model, HooksItself().eval()):  # hooked already, and not yet
        plan = ip.plan(network, x, tp.importance.MagnitudeImportance(p=2), rates=0.5)
        assert plan.edits
        ip.measure(network, x)
        assert network(x).shape == expected.shape
    assert torch.equal(model(x), expected)
