"""The optimizer that options ask for."""

import pytest
import torch
from torch import nn

from infoprune.finetune import Training
from infoprune.finetune.optimizers import optimizer_of


@pytest.mark.parametrize("nesterov", [True, False])
def test_momentum_looks_ahead_unless_told_otherwise(nesterov):
    """v = m v + g; the step goes along g + m v with Nesterov's look, along v without."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2, bias=False)
    options = Training(lr=0.1, momentum=0.9, weight_decay=0.0, nesterov=nesterov)
    optimizer = optimizer_of(model, options, fused=False)
    weight, velocity = model.weight.detach().clone().double(), torch.zeros(2, 3).double()
    for step in range(3):
        gradient = torch.randn(2, 3, generator=torch.Generator().manual_seed(step))
        model.weight.grad = gradient.clone()
        optimizer.step()
        velocity = 0.9 * velocity + gradient.double()
        weight -= 0.1 * (gradient + 0.9 * velocity if nesterov else velocity)
    torch.testing.assert_close(model.weight.double(), weight, rtol=0, atol=1e-6)


def test_no_momentum_has_nothing_to_look_ahead_along():
    group = optimizer_of(nn.Linear(3, 2), Training(momentum=0.0), fused=False).param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (0.0, False)
