"""What unit_energies costs on top of the forward passes, for the 54 units of a ResNet-110 and 100 classes.

python benchmarks/depth_energy_cost.py [--samples 2048] [--width 512]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from depth_task import ResNet

import infoprune as ip
from infoprune.depth import removals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--width", type=int, default=512)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, x = ResNet(110, 16, classes=100).eval(), torch.zeros(1, 3, 32, 32)
    data = [(torch.randn(128, 3, 32, 32), torch.randint(100, (128,))) for _ in range(options.samples // 128)]
    finding = seconds(lambda: removals(model, x))
    forward = seconds(lambda: run(model, data))
    whole = seconds(lambda: ip.unit_energies(model, data, x, samples=options.samples, width=options.width))
    print(f"units {len(removals(model, x))}, samples {options.samples}, sketched to {options.width}")
    print(f"forward passes {forward:.1f} s, finding units {finding:.1f} s, unit_energies {whole:.1f} s")
    print(f"on top of forward passes and finding: {(whole - finding) / forward - 1:.0%}")


@torch.no_grad()
def run(model: torch.nn.Module, data: list) -> None:
    for inputs, _ in data:
        model(inputs)


def seconds(function: Callable[[], object]) -> float:
    """Processor seconds of one call."""
    begun = time.process_time()
    function()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
