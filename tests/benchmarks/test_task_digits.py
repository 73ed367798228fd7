"""A deep network of the contests begins as a shallow one."""

import torch
from task_digits import grow_
from torch import nn

from infoprune.models import resnet20_cifar, resnet56_cifar


def test_a_grown_network_answers_like_the_one_it_was_grown_from():
    torch.manual_seed(0)
    shallow, deep, x = resnet20_cifar().eval(), resnet56_cifar().eval(), torch.randn(2, 3, 32, 32)
    for norm in (m for m in shallow.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.running_mean)
    assert not torch.allclose(deep(x), shallow(x), atol=1e-3)
    grow_(deep, shallow)
    torch.testing.assert_close(deep(x), shallow(x))
