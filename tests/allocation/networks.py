"""Costs of well-known networks, written from their channel widths: one site per prunable width.

A width is a list of sites (a concatenation sums them) or a plain number of channels that stay. One
multiply-add is one MAC; batch-norm is free; the classifier's outputs stay.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from infoprune.allocation import Posynomial, Problem

Width = list[int] | int


@dataclass
class Network:
    """Sizes of the sites met so far, and the monomials (tuples of sites) of what is counted."""

    sizes: list[int] = field(default_factory=list)
    macs: Counter = field(default_factory=Counter)
    params: Counter = field(default_factory=Counter)
    activations: Counter = field(default_factory=Counter)

    def site(self, size: int) -> list[int]:
        self.sizes.append(size)
        return [len(self.sizes) - 1]

    def conv(self, inputs: Width, outputs: Width, *, kernel: int, resolution: int) -> None:
        for weight, product in _products(inputs, outputs):
            self.macs[product] += weight * kernel**2 * resolution**2
            self.params[product] += weight * kernel**2
        self._emit(outputs, resolution)

    def depthwise(self, width: Width, *, kernel: int, resolution: int) -> None:
        for weight, product in _products(width, 1):
            self.macs[product] += weight * kernel**2 * resolution**2
            self.params[product] += weight * kernel**2
        self._emit(width, resolution)

    def _emit(self, width: Width, resolution: int) -> None:
        for weight, product in _products(width, 1):
            self.activations[product] += weight * resolution**2
            self.params[product] += 2 * weight

    def cost(self, unit: str) -> Posynomial:
        terms = getattr(self, unit)
        exponents = np.zeros((len(terms), len(self.sizes)))
        for row, product in enumerate(terms):
            np.add.at(exponents[row], list(product), 1)
        return Posynomial(list(terms.values()), exponents)

    def problem(self, *, keep: float, resources: tuple[str, ...] = ("macs",), seed: int = 0, **options) -> Problem:
        costs = [self.cost(resource) for resource in resources]
        limits = [keep * cost(self.sizes) for cost in costs]
        weights = options.pop("weights", None)
        if weights is None:
            weights = np.random.default_rng(seed).uniform(0.2, 1.0, len(self.sizes))
        options = {"floor": 0.1, "step": 1, "utility": -1.0, **options}
        return Problem(weights=weights, sizes=self.sizes, costs=costs, limits=limits, resources=resources, **options)


def _products(inputs: Width, outputs: Width) -> list[tuple[int, tuple[int, ...]]]:
    ins = [(inputs, ())] if isinstance(inputs, int) else [(1, (site,)) for site in inputs]
    outs = [(outputs, ())] if isinstance(outputs, int) else [(1, (site,)) for site in outputs]
    return [(a * b, tuple(sorted(p + q))) for a, p in ins for b, q in outs]


def resnet_cifar(blocks: int) -> Network:
    """ResNet-20 (3 blocks a stage) and ResNet-56 (9), on 32 x 32 images."""
    net = Network()
    stream = net.site(16)
    net.conv(3, stream, kernel=3, resolution=32)
    for size, resolution in ((16, 32), (32, 16), (64, 8)):
        for block in range(blocks):
            inner, before = net.site(size), stream
            if block == 0 and size > 16:
                stream = net.site(size)
                net.conv(before, stream, kernel=1, resolution=resolution)
            net.conv(before, inner, kernel=3, resolution=resolution)
            net.conv(inner, stream, kernel=3, resolution=resolution)
    net.conv(stream, 10, kernel=1, resolution=1)
    return net


def resnet50() -> Network:
    net = Network()
    before = net.site(64)
    net.conv(3, before, kernel=7, resolution=112)
    for blocks, size, resolution in ((3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7)):
        stream = net.site(4 * size)
        net.conv(before, stream, kernel=1, resolution=resolution)
        for block in range(blocks):
            first, second = net.site(size), net.site(size)
            wider = 2 * resolution if block == 0 and size > 64 else resolution
            net.conv(before, first, kernel=1, resolution=wider)
            net.conv(first, second, kernel=3, resolution=resolution)
            net.conv(second, stream, kernel=1, resolution=resolution)
            before = stream
    net.conv(before, 1000, kernel=1, resolution=1)
    return net


def vgg16() -> Network:
    """The CIFAR variant with batch-norm and one linear layer."""
    net, before = Network(), 3
    for size, count, resolution in ((64, 2, 32), (128, 2, 16), (256, 3, 8), (512, 3, 4), (512, 3, 2)):
        for _ in range(count):
            width = net.site(size)
            net.conv(before, width, kernel=3, resolution=resolution)
            before = width
    net.conv(before, 10, kernel=1, resolution=1)
    return net


def mobilenet_v1() -> Network:
    net = Network()
    before = net.site(32)
    net.conv(3, before, kernel=3, resolution=112)
    widths = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    for size, resolution in zip(widths, (112, 56, 56, 28, 28, 14, 14, 14, 14, 14, 14, 7, 7), strict=True):
        net.depthwise(before, kernel=3, resolution=resolution)
        width = net.site(size)
        net.conv(before, width, kernel=1, resolution=resolution)
        before = width
    net.conv(before, 1000, kernel=1, resolution=1)
    return net


def mobilenet_v2() -> Network:
    net = Network()
    before = net.site(32)
    net.conv(3, before, kernel=3, resolution=112)
    stages = ((1, 16, 1, 112), (6, 24, 2, 56), (6, 32, 3, 28), (6, 64, 4, 14), (6, 96, 3, 14), (6, 160, 3, 7))
    size = 32
    for expand, width, blocks, resolution in (*stages, (6, 320, 1, 7)):
        stream = net.site(width)
        for block in range(blocks):
            hidden = before if expand == 1 else net.site(expand * size)
            doubled = block == 0 and width in (24, 32, 64, 160)
            if expand != 1:
                net.conv(before, hidden, kernel=1, resolution=resolution * (2 if doubled else 1))
            net.depthwise(hidden, kernel=3, resolution=resolution)
            net.conv(hidden, stream, kernel=1, resolution=resolution)
            before, size = stream, width
    last = net.site(1280)
    net.conv(before, last, kernel=1, resolution=7)
    net.conv(last, 1000, kernel=1, resolution=1)
    return net


def densenet121() -> Network:
    net = Network()
    stream, resolution = net.site(64), 56
    net.conv(3, stream, kernel=7, resolution=112)
    for index, layers in enumerate((6, 12, 24, 16)):
        for _ in range(layers):
            bottleneck, grown = net.site(128), net.site(32)
            net.conv(stream, bottleneck, kernel=1, resolution=resolution)
            net.conv(bottleneck, grown, kernel=3, resolution=resolution)
            stream = stream + grown
        if index < 3:
            halved = net.site(sum(net.sizes[site] for site in stream) // 2)
            net.conv(stream, halved, kernel=1, resolution=resolution)
            stream, resolution = halved, resolution // 2
    net.conv(stream, 1000, kernel=1, resolution=1)
    return net


NETWORKS = {
    "resnet20": lambda: resnet_cifar(3),
    "resnet56": lambda: resnet_cifar(9),
    "resnet50": resnet50,
    "vgg16": vgg16,
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "densenet121": densenet121,
}
