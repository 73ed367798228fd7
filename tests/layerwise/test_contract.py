"""Every layer importance, a newcomer among them: one weight a site, finite, and the same when asked again."""

import math

import pytest
import torch
from tests.small_nets import Residual, image, make

import infoprune as ip
from infoprune.layerwise import layerwise

SITES = {"stem", "one"}


def batches():
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(12, 3, 8, 8, generator=generator), torch.arange(12) % 3) for _ in range(4)]


#: name -> how to build it for a network; the others take what `observe` saw.
EVIDENCE = {
    "uniform": lambda net: layerwise["uniform"](),
    "curves": lambda net: layerwise["curves"](net, batches(), ip.importance.IndependenceImportance(), progress=False),
    "nhsic_printed": lambda net: layerwise["nhsic_printed"](net, batches(), progress=False),
    "losses": lambda net: layerwise["losses"](
        ip.importance.ConditionalImportance(ip.observe(net, batches(), moments=True, progress=False))
    ),
}


def built(name, net):
    own = EVIDENCE.get(name)
    return own(net) if own else layerwise[name](ip.observe(net, batches(), progress=False))


@pytest.mark.parametrize("name", sorted(layerwise))
def test_every_site_has_one_weight_that_can_be_shared_out(name):
    net = make(Residual)
    graph = ip.Graph.trace(net, image())
    weights = built(name, net)(graph)
    assert weights.keys() == {site.name for site in graph.sites} >= SITES
    assert all(math.isfinite(weight) and weight >= 0 for weight in weights.values())
    assert sum(weights.values()) > 0
    assert layerwise[name].__doc__.strip()


@pytest.mark.parametrize("name", sorted(layerwise))
def test_the_same_evidence_gives_the_same_weights(name):
    net = make(Residual)
    graph = ip.Graph.trace(net, image())
    assert built(name, net)(graph) == built(name, net)(graph)


@pytest.mark.parametrize("name", sorted(layerwise))
def test_the_network_is_left_as_it_was(name):
    net = make(Residual)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    built(name, net)(ip.Graph.trace(net, image()))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
