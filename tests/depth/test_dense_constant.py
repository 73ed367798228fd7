"""A dense layer that leaves takes constants of later norms along, which eq. 2 to the letter would keep there."""

import copy

import torch
from tests.depth.skip_nets import CifarResNet, Dense, randomised
from torch import nn

import infoprune as ip
from infoprune.depth import removals
from infoprune.surgery import Plan

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
LAYER, CHANNELS = "layers.1", slice(12, 16)


def without(model):
    plan = Plan(tuple(edit for edit in removals(model, X) if edit.unit.name == LAYER))
    return ip.prune_(copy.deepcopy(model), X, plan), ip.certificate_of(model, X, plan)


def times_zero(model):
    """Con(alpha T(U'), U') with alpha = 0, and nothing else changed."""
    model = copy.deepcopy(model)
    model.get_submodule(LAYER).register_forward_hook(lambda module, inputs, output: 0 * output)
    return model


def norms(model):
    return [model.layers[2].norm, model.norm]


def test_the_constants_of_later_norms_leave_with_a_dense_layer_and_the_certificate_says_so():
    model = randomised(Dense())
    pruned, certificate = without(model)
    assert (pruned(X) - times_zero(model)(X)).abs().max() > 1e-3
    assert certificate.verdict == "exact"
    told = "what layers.2.norm, norm make of zeros leaves with layers.1"
    assert told in str(certificate)
    assert len(certificate.remarks) == 1


def test_it_is_the_branch_times_zero_where_norms_make_nothing_of_zeros():
    model = randomised(Dense())
    with torch.no_grad():
        for norm in norms(model):
            constant = norm.weight * norm.running_mean / (norm.running_var + norm.eps).sqrt()
            norm.bias[CHANNELS] = constant[CHANNELS]
    pruned, _ = without(model)
    torch.testing.assert_close(pruned(X), times_zero(model)(X), rtol=0, atol=1e-6)


def test_blocks_that_are_added_have_nothing_to_remark():
    model = randomised(CifarResNet())
    certificate = ip.certificate_of(model, X, Plan(removals(model, X)[-1:]))
    assert certificate.verdict == "exact"
    assert certificate.remarks == ()


def test_a_concatenation_without_norms_has_nothing_to_remark():
    model = randomised(Dense())
    model.layers[2].norm, model.norm = nn.Identity(), nn.Identity()
    pruned, certificate = without(model)
    assert certificate.remarks == ()
    torch.testing.assert_close(pruned(X), times_zero(model)(X), rtol=0, atol=1e-6)
