"""What sketched maps do to energies: within the stated error for maps of any kind, and none for whole maps."""

import math

import pytest
import torch
from torch import nn

from infoprune.data.digits import digits
from infoprune.depth import unit_energies
from infoprune.models.cifar_resnet import resnet20_cifar

SHAPE = (64, 16, 16)  # 16,384 numbers
WIDTH = 512
N, CLASSES = 48, 3


class Given(nn.Module):
    """The branch gives what goes in."""

    def __init__(self):
        super().__init__()
        self.branch = nn.Conv2d(SHAPE[0], SHAPE[0], 1, bias=False)
        nn.init.dirac_(self.branch.weight)
        self.head = nn.Linear(SHAPE[0], CLASSES)

    def forward(self, x):
        return self.head((x + self.branch(x)).mean((2, 3)))


def normals(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def only(*place):
    maps = torch.zeros(N, *SHAPE)
    maps[(slice(None), *place)] = normals(N, *SHAPE)[(slice(None), *place)]
    return maps


LABELS = torch.arange(N) % CLASSES
MAPS = {
    "all channels of one place": lambda: only(slice(None), 3, 5),
    "every second row of a column": lambda: only(slice(None), slice(0, None, 2), 0),
    "one channel": lambda: only(7),
    "one number": lambda: only(7, 1, 1),
    "channels alike": lambda: normals(N, 1, 16, 16).expand(N, *SHAPE).contiguous(),
    "places alike": lambda: normals(N, 64, 1, 1).expand(N, *SHAPE).contiguous(),
    "channels that alternate": lambda: (
        only(0, 0).sum((2, 3))[:, :1, None, None] * (-1.0) ** torch.arange(64)[:, None, None] + torch.zeros(N, *SHAPE)
    ),
    "noise": lambda: normals(N, *SHAPE),
}


def energies(model, batches, **options):
    seen = unit_energies(model, batches, batches[0][0][:1], **options)
    return torch.tensor([energy for energy, _ in seen.values()], dtype=torch.float64)


@pytest.mark.parametrize("kind", MAPS)
def test_the_error_is_that_of_random_buckets_whatever_the_map(kind):
    """A squared distance has a relative standard error of sqrt(2 / width) at most, and so have energies of a shift."""
    x = MAPS[kind]() + 0.0
    x = x + LABELS[:, None, None, None] * x.std() * (x != 0)
    model, batches = Given().eval(), [(x, LABELS)]
    exact = energies(model, batches, width=float("inf"))
    errors = torch.stack([energies(model, batches, width=WIDTH, seed=seed) for seed in range(6)]) / exact - 1
    assert errors.square().mean().sqrt() < 2 * math.sqrt(2 / WIDTH)
    assert errors.abs().max() < 4 * math.sqrt(2 / WIDTH)


def test_the_default_is_off_by_a_few_percent_on_real_maps():
    torch.manual_seed(0)
    model = resnet20_cifar().train()
    images, labels = digits(size=32).held_out.batch(0, range(64))
    with torch.no_grad():
        model(images)
    batches = [(images, labels)]
    exact = energies(model, batches, width=float("inf"))
    errors = energies(model, batches) / exact - 1
    assert 0 < errors.square().mean().sqrt() < 0.04
    assert errors.abs().max() < 0.1


def test_the_seed_draws_the_buckets():
    model, batches = Given().eval(), [(normals(N, *SHAPE), LABELS)]
    first, again, other = (energies(model, batches, width=64, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
