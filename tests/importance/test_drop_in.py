"""Our importances inside torch-pruning's stock pruner, on networks people prune."""

import pytest
import timm
import torch
import torch_pruning as tp
import torchvision
from torch import nn

import infoprune as ip
from infoprune.importance import CapacityImportance, CapacityIndependenceImportance, IndependenceImportance
from infoprune.importance.base import members_of
from infoprune.models import resnet20_cifar

NETWORKS = [
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "densenet121",
    "mobilenetv2_100",
    "efficientnet_lite0",
    "vgg16_bn",
    "convnext_atto",
    "regnety_002",
    "deit_tiny_patch16_224",
]
WAYS = {
    "local": {},
    "global": {"global_pruning": True, "max_pruning_ratio": 0.9},
    "isomorphic": {"global_pruning": True, "isomorphic": True, "max_pruning_ratio": 0.9},
    "round_to": {"round_to": 8},
    "iterative": {"iterative_steps": 2},
    "interactive": {},
}
CLASSES = [CapacityImportance, IndependenceImportance, CapacityIndependenceImportance]
inputs = (torch.zeros(1, 3, 64, 64),)


def network(name):
    if name == "vgg16_bn":  # torchvision's, without its 400 MB of classifier
        net = torchvision.models.vgg16_bn(num_classes=10)
        net.avgpool, net.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, 10)
        return net.eval()
    size = {"img_size": 64} if name.startswith("deit") else {}
    return timm.create_model(name, **size).eval()


def pruner(net, importance, **options):
    heads = {m.qkv: m.num_heads for m in net.modules() if isinstance(m, timm.layers.Attention)}
    head = net.classifier if isinstance(net, torchvision.models.VGG) else net.get_classifier()
    fixed = {"num_heads": heads, "in_channel_groups": {}, "out_channel_groups": {}}
    bare = [(p, p.ndim - 1 if p.ndim > 1 else 0) for p in bare_parameters(net)]
    options = {
        "pruning_ratio": 0.5,
        "ignored_layers": [head],
        "unwrapped_parameters": bare,
        **fixed,
        **options,
    }
    return tp.pruner.BasePruner(net, inputs, importance, **options)


def bare_parameters(net):
    layers = nn.modules.conv._ConvNd | nn.modules.batchnorm._BatchNorm | nn.Linear | nn.LayerNorm
    wrapped = {id(p) for m in net.modules() if isinstance(m, layers) for p in m.parameters(recurse=False)}
    return [p for p in net.parameters() if id(p) not in wrapped]


def step(host, way):
    if way == "interactive":
        for group in host.step(interactive=True):
            group.prune()
        return
    for _ in range(WAYS[way].get("iterative_steps", 1)):
        host.step()


def repair_attention(net):
    """What the host leaves to its user: attention modules remember their sizes."""
    for module in net.modules():
        if isinstance(module, timm.layers.Attention):
            module.attn_dim = module.qkv.out_features // 3
            module.head_dim = module.attn_dim // module.num_heads


def prune_and_run(name, importance, way):
    net = network(name)
    before = sum(p.numel() for p in net.parameters())
    step(pruner(net, importance, **WAYS[way]), way)
    repair_attention(net)
    with torch.no_grad():
        assert net(*inputs).isfinite().all()
    return sum(p.numel() for p in net.parameters()) / before


@pytest.mark.parametrize("importance", CLASSES)
def test_prunes_a_mobilenet(importance):
    assert prune_and_run("mobilenetv2_100", importance(), "local") < 0.5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NETWORKS)
def test_prunes_every_network_in_every_way(name, way):
    share = prune_and_run(name, CapacityIndependenceImportance(), way)
    assert share < 0.95
    if way in ("local", "iterative", "interactive"):
        assert share < 0.5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("importance", CLASSES[:2])
@pytest.mark.parametrize("name", NETWORKS)
def test_prunes_every_network_by_each_part(name, importance):
    assert prune_and_run(name, importance(), "local") < 0.5


def test_sites_that_own_a_part_of_a_layer_have_that_part_s_gradients():
    """Padding with zeros splits what conv2 gives out: in the middle it meets the shortcut, at the ends it does not."""
    torch.manual_seed(0)
    net = resnet20_cifar().eval()
    nn.functional.cross_entropy(net(torch.randn(4, 3, 32, 32)), torch.arange(4)).backward()
    taylor = tp.importance.GroupTaylorImportance(group_reduction="first", normalizer=None)
    graph = ip.Graph.trace(net, torch.zeros(1, 3, 32, 32))
    layer = net.layer2[0].conv2
    moved = (layer.weight * layer.weight.grad).abs().sum((1, 2, 3)).detach()
    for site, rows in (("layer2.0.conv2", slice(0, 8)), ("layer2.0.conv2#2", slice(24, 32))):
        torch.testing.assert_close(taylor(graph.group(site)[0]), moved[rows])


def test_sites_that_own_a_part_of_a_layer_are_scored_by_that_part_s_responses():
    torch.manual_seed(0)
    net = resnet20_cifar().eval()
    seen = ip.observe(net, [(torch.randn(32, 3, 32, 32), torch.arange(32) % 4)], progress=False)
    importance = ip.importance.EnergyImportance(seen)
    graph = ip.Graph.trace(net, torch.zeros(1, 3, 32, 32))
    responses, labels = seen.responses.of("layer2.0.conv2"), seen.responses.labels
    scores = importance.dependence(responses, labels).float()
    for site, rows in (("layer2.0.conv2", slice(0, 8)), ("layer2.0.conv2#2", slice(24, 32))):
        own = [m for m in members_of(graph.group(site)[0]) if m.name == "layer2.0.conv2"]
        torch.testing.assert_close(importance.score(own[0]), scores[rows])
