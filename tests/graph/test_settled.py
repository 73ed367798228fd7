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
