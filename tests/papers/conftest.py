"""A small residual network with weights that digits taught it, beside random ones."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infoprune.data.digits import digits


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x):
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class Residual(nn.Module):
    def __init__(self, width: int = 8, blocks: int = 4):
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.blocks(torch.relu(self.bn(self.stem(x)))).mean((2, 3)))


@pytest.fixture(scope="session")
def pictures():
    return digits().held_out.batch(0, range(48))


@pytest.fixture(scope="session")
def taught():
    torch.manual_seed(0)
    model, (images, labels) = Residual(), digits().train.batch(0, range(1200))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for _ in range(2):
        for some in torch.randperm(1200).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(images[some]), labels[some]).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="session")
def untaught(pictures):
    torch.manual_seed(1)
    model = Residual().train()
    with torch.no_grad():
        model(pictures[0])
    return model.eval()


@pytest.fixture(params=["taught", "untaught"])
def model(request):
    return request.getfixturevalue(request.param)
