"""Widths that the authors of the strategy paper published with their code: plans that build, at the printed MACs.

github.com/MAC-AutoML/ITPruner, run_scripts/train. Their ResNet-20 and ResNet-56 have another width in each block of a
stage, which a sum ties here: those build in no plan.
"""

import pytest
import torch
import torchvision

import infoprune as ip
from infoprune.importance import IndependenceImportance
from infoprune.models import models

CIFAR, IMAGENET = (torch.randn(1, 3, s, s, generator=torch.Generator().manual_seed(0)) for s in (32, 224))
VGG = [44, 35, 71, 71, 145, 104, 145, 290, 205, 325, 432, 429, 469]
MOBILENET_V1 = {
    283: [28, 52, 88, 90, 179, 182, 362, 311, 314, 314, 312, 367, 734, 1024],
    149: [23, 42, 63, 67, 132, 134, 275, 194, 202, 202, 194, 277, 522, 687],
}
MOBILENET_V2 = {219: [31, 14, 20, 28, 54, 74, 130, 298], 149: [29, 12, 16, 24, 43, 50, 98, 273]}
STAGES, EXPANSION = (1, 2, 3, 4, 3, 3, 1), 6
RESNET50 = {
    2236: [52, 55, 55, 146, 55, 55, 55, 55, 105, 111, 232, *[111] * 6, 211, 222, 290, *[222] * 10, 423, 442, 1453,
           *[442] * 4],
    1943: [50, 53, 54, 125, 54, 54, 54, 54, 101, 108, 179, *[107] * 6, 203, 216, 148, *[215] * 10, 407, 429, 1341,
           *[429] * 3, 428],
}  # fmt: skip


def widths_of_convolutions(model, chosen):
    """layer -> width, for convolutions with weights of their own in the order in which they were made."""
    names = [name for name, layer in model.named_modules() if isinstance(layer, torch.nn.Conv2d) and layer.groups == 1]
    return dict(zip(names, chosen, strict=True))


def widths_of_mobilenet_v2(model, chosen):
    """The stem, then what blocks give out; what they expand to is six times what arrives."""
    stem, *stages = chosen
    outs = [width for width, blocks in zip(stages, STAGES, strict=True) for _ in range(blocks)]
    hidden = [EXPANSION * width for width in outs[:-1]]
    inner = [width for pair in zip(hidden, outs[1:], strict=True) for width in pair]
    return widths_of_convolutions(model, [stem, outs[0], *inner, 1280])


def widths_of_resnet50(model, chosen):
    """The stem, then three widths of each first block and two of the others, which give out what the first does."""
    rest, found = iter(chosen), {"conv1": next(iter(chosen))}
    next(rest)
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            for conv in (1, 2, 3) if block == 0 else (1, 2):
                found[f"layer{stage}.{block}.conv{conv}"] = next(rest)
    assert not list(rest)
    return found


def planned(model, x, widths):
    sizes = {name: model.get_submodule(name).out_channels for name in widths}
    rates = {name: 1 - width / sizes[name] for name, width in widths.items()}
    return ip.plan(model, x, IndependenceImportance(), rates=rates)


CASES = [
    pytest.param("vgg16_bn_cifar", CIFAR, widths_of_convolutions, VGG, 98.8, id="VGG"),
    *[pytest.param("mobilenet_v1", IMAGENET, widths_of_convolutions, chosen, printed, id=f"MobileNetV1 {printed} M")
      for printed, chosen in MOBILENET_V1.items()],
    *[pytest.param("mobilenet_v2", IMAGENET, widths_of_mobilenet_v2, chosen, printed, id=f"MobileNetV2 {printed} M")
      for printed, chosen in MOBILENET_V2.items()],
    *[pytest.param("resnet50", IMAGENET, widths_of_resnet50, chosen, printed, id=f"ResNet-50 {printed} M",
                   marks=pytest.mark.slow)
      for printed, chosen in RESNET50.items()],
]  # fmt: skip


@pytest.mark.parametrize(("name", "x", "widths_of", "chosen", "printed"), CASES)
def test_published_widths_build_and_cost_what_is_printed(name, x, widths_of, chosen, printed):
    model = (models[name] if name in models else getattr(torchvision.models, name))()
    widths = widths_of(model, chosen)
    pruned = ip.prune_(model, x, planned(model, x, widths))
    assert {layer: pruned.get_submodule(layer).out_channels for layer in widths} == widths
    assert ip.measure(pruned, x).macs / 1e6 == pytest.approx(printed, rel=0.01)
