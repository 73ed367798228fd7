"""Statistics of norms: relative ones change nothing that pruning didn't, and the domain check tells pictures apart."""

import copy

import pytest
import torch
from torch import nn

from infoprune.finetune.norms import agreement_when_renewed, reestimate_, relative_


def network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6), nn.Flatten(),
        nn.LazyLinear(5),
    )  # fmt: skip
    model(torch.zeros(2, 3, 8, 8))
    return reestimate_(model, pictures()).train()


def pictures(scale=1.0, shift=0.0, count=6):
    generator = torch.Generator().manual_seed(1)
    return [scale * torch.randn(16, 3, 8, 8, generator=generator) + shift for _ in range(count)]


@pytest.mark.parametrize("seen", [pictures(), pictures(5.0, 3.0)], ids=["like the training set's", "others"])
def test_relative_statistics_leave_the_dense_network_as_it_is(seen):
    dense = network()
    same = relative_(copy.deepcopy(dense), dense, seen)
    for name, tensor in dense.state_dict().items():
        torch.testing.assert_close(same.state_dict()[name], tensor, rtol=1e-5, atol=1e-6)
    assert same.training
    assert dense.training


def test_relative_statistics_undo_a_change_of_scale_and_mean_on_any_pictures():
    dense = network()
    changed = copy.deepcopy(dense)
    with torch.no_grad():
        changed[0].weight.mul_(3)
        changed[0].bias.mul_(3).add_(1)
    relative_(changed, dense, pictures(5.0, 3.0))
    x = pictures()[0]
    dense.eval(), changed.eval()
    torch.testing.assert_close(changed(x), dense(x), rtol=1e-3, atol=1e-3)  # eps of the norm is not scaled


def test_of_a_narrower_network_the_kept_channels_are_compared():
    dense = network()
    narrow = copy.deepcopy(dense[:2])
    kept = torch.tensor([1, 4, 6])
    narrow[0] = nn.Conv2d(3, 3, 3)
    narrow[1] = nn.BatchNorm2d(3)
    with torch.no_grad():
        narrow[0].weight.copy_(dense[0].weight[kept]), narrow[0].bias.copy_(dense[0].bias[kept])
    relative_(narrow, dense[:2], pictures(5.0), kept={"1": kept})
    torch.testing.assert_close(narrow[1].running_mean, dense[1].running_mean[kept])
    torch.testing.assert_close(narrow[1].running_var, dense[1].running_var[kept])


def test_an_interrupt_leaves_statistics_as_they_were():
    dense = network()
    model = copy.deepcopy(dense)
    before = {name: t.clone() for name, t in model.state_dict().items()}

    def interrupted():
        yield pictures()[0] * 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        relative_(model, dense, interrupted())
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert not model[1]._forward_pre_hooks


def test_the_domain_check_tells_pictures_like_the_training_set_s_from_others():
    dense = network().eval()
    before = {name: t.clone() for name, t in dense.state_dict().items()}
    assert agreement_when_renewed(dense, pictures()) > 0.9
    assert agreement_when_renewed(dense, pictures(5.0, 3.0)) < 0.8
    assert all(torch.equal(dense.state_dict()[name], tensor) for name, tensor in before.items())
