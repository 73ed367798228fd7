"""What large networks take: CPU time and peak memory of every step from tracing to loading again.

    python benchmarks/large_networks.py --nets swin_l vit_h convnext_xxl decoder_1.3g    # wants 24 GiB
    python benchmarks/large_networks.py --growth                    # decoders of more layers, and of wider ones
    python benchmarks/large_networks.py --mapped                    # 7 G parameters, memory-mapped (writes 14 GB)
    python benchmarks/large_networks.py --smoke

Weights are random, which no step is faster for. Half of the MACs leave, ranked by L1. "More" is the peak of resident
memory during a step over what was resident before it; "own" leaves out pages of mapped files, which the system takes
back when it wants. `--growth` traces with values and by shapes alone. `--mapped`
plans 75 % of the parameters of a decoder like Llama-2-7B from its configuration and from files of bfloat16 weights.
"""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

from memory import resident_mib
from results_file import ResultsFile, arguments

TIMM = {
    "swin_l": ("swin_large_patch4_window7_224", 224),
    "vit_h": ("vit_huge_patch14_224", 224),
    "convnext_xxl": ("convnext_xxlarge", 256),
    "resnet18": ("resnet18", 224),
}
DECODERS = {  # width, inner width, layers, heads
    "decoder_1.3g": (2048, 5504, 24, 16),
    "decoder_7g": (4096, 11008, 32, 32),
    "tiny": (64, 128, 2, 4),
}
LAYERS, WIDTHS = (4, 8, 16, 32, 64), (256, 512, 1024, 2048, 4096)
WIDEST = 2048  # with values, and copies of them
TOKENS = 16


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--nets", nargs="*", default=[], choices=[*TIMM, *DECODERS])
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--mapped", action="store_true")
    parser.add_argument("--alone", help="measure one task here and print it (for the children)")
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(measured(**json.loads(options.alone))))
        return
    results = ResultsFile.of(options, "large_networks", key=("net", "layers", "width", "way"))
    for task in tasks(options):
        if not results.has(**task):
            command = [sys.executable, "-W", "ignore", __file__, "--alone", json.dumps(task)]
            child = subprocess.run(command, capture_output=True, text=True, check=True)
            results.append({**task, **json.loads(child.stdout.splitlines()[-1])})


def tasks(options: Any) -> Iterator[dict[str, Any]]:
    nets, layers, widths = options.nets, LAYERS, WIDTHS
    if options.smoke:
        nets, layers, widths, options.growth, options.mapped = ["resnet18", "tiny"], (1, 2), (32, 64), True, True
    for net in nets:
        yield {"net": net, "layers": None, "width": None, "way": "whole"}
    if options.growth:
        fixed = 256 if not options.smoke else 32
        shapes = [*((n, fixed) for n in layers), *((layers[0], n) for n in widths if n != fixed)]
        fits = [shape for shape in shapes if shape[1] <= WIDEST]
        for (deep, wide), way in [*product(fits, ["values"]), *product(shapes, ["shapes"])]:
            yield {"net": "decoder", "layers": deep, "width": wide, "way": way}
    if options.mapped:
        yield {"net": "tiny" if options.smoke else "decoder_7g", "layers": None, "width": None, "way": "mapped"}


def measured(net: str, layers: int | None, width: int | None, way: str) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if way == "whole":
        return whole(net)
    return mapped(net) if way == "mapped" else traced(layers or 1, width or 1, way)


def whole(net: str) -> dict[str, Any]:
    """Every step on a network that fits in memory."""
    import infoprune as ip
    from infoprune.graph import Graph

    model, x = made(net)
    told: dict[str, Any] = {"params": sum(p.numel() for p in model.parameters())}
    rank, budget = l1(), ip.budgets.macs(keep=0.5)
    told["trace"], graph = spent(lambda: Graph.trace(model, x))
    told["sites"] = len(graph.sites)
    told["plan"], plan = spent(lambda: ip.plan(model, x, rank, budgets=[budget]))
    del graph
    told["prune_"], _ = spent(lambda: ip.prune_(model, x, plan))
    with tempfile.TemporaryDirectory() as folder:
        told["save"], _ = spent(lambda: ip.save(f"{folder}/net", model, plan, factory=builder(net)))
        told["load"], _ = spent(lambda: ip.load(f"{folder}/net", factory=builder(net)))
    return told


def traced(layers: int, width: int, way: str) -> dict[str, Any]:
    """Tracing a decoder alone: with its values, or by shapes."""
    import torch

    from infoprune.graph import Graph

    with torch.device("meta" if way == "shapes" else "cpu"):
        model = decoder(width, 4 * width, layers, max(1, width // 64))
    told: dict[str, Any] = {"params": sum(p.numel() for p in model.parameters())}
    told["trace"], graph = spent(lambda: Graph.trace(model, ids()))
    return {**told, "sites": len(graph.sites)}


def mapped(net: str) -> dict[str, Any]:
    """Planning from a configuration and files of weights, of which one layer at a time is in memory."""
    import torch
    from safetensors.torch import load_file

    import infoprune as ip

    with torch.device("meta"):
        model = decoder(*DECODERS[net]).to(torch.bfloat16)
    told: dict[str, Any] = {"params": sum(p.numel() for p in model.parameters())}
    with tempfile.TemporaryDirectory() as folder:
        write(model, Path(folder))
        for file in sorted(Path(folder).glob("*.safetensors")):
            model.load_state_dict(load_file(file), strict=False, assign=True)
        budgets, begun = [ip.budgets.params(keep=0.75)], time.monotonic()
        told["plan"], plan = spent(lambda: ip.plan(model, ids(), l1(), budgets=budgets, shapes_alone=True))
        told["plan_seconds"] = round(time.monotonic() - begun, 1)
    told["kept"] = plan.prices["params"].after / plan.prices["params"].before
    return told


def write(model: Any, folder: Path) -> None:
    """A file a layer of random weights, written by another process so that no page of them is in this one's memory."""
    shapes = {name: list(p.shape) for name, p in model.named_parameters()}
    (folder / "shapes.json").write_text(json.dumps(shapes))
    subprocess.run([sys.executable, "-c", WRITING, str(folder)], check=True)


WRITING = """
import json, sys, pathlib, torch
from safetensors.torch import save_file
folder = pathlib.Path(sys.argv[1])
parts = {}
for name, shape in json.loads((folder / "shapes.json").read_text()).items():
    parts.setdefault(".".join(name.split(".")[:3]), {})[name] = shape
for number, part in enumerate(parts.values()):
    weights = {name: torch.randn(shape, dtype=torch.bfloat16) for name, shape in part.items()}
    save_file(weights, folder / f"{number:03}.safetensors")
"""


def spent(step: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """CPU seconds and MiB of a step over what was resident before, and what it gives."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, begun = resident_mib("VmRSS"), time.process_time()
    with Own() as own:
        given = step()
    cpu = time.process_time() - begun
    return {"cpu_s": round(cpu, 2), "more_mib": round(resident_mib("VmHWM") - before), "own_mib": own.more}, given


class Own(threading.Thread):
    """The peak of memory that is no page of a file, looked at a hundred times a second."""

    def __enter__(self) -> Own:
        self.before = self.most = resident_mib("RssAnon")
        self.over = threading.Event()
        self.start()
        return self

    def run(self) -> None:
        while not self.over.wait(0.01):
            self.most = max(self.most, resident_mib("RssAnon"))

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()

    @property
    def more(self) -> int:
        return round(self.most - self.before)


def made(net: str) -> tuple[Any, Any]:
    import timm
    import torch

    if net in DECODERS:
        return decoder(*DECODERS[net]), ids()
    name, side = TIMM[net]
    return timm.create_model(name).eval(), torch.randn(1, 3, side, side)


def builder(net: str) -> Callable[[], Any] | None:
    """Networks of timm are found by name; a decoder is built from its configuration."""
    return (lambda: decoder(*DECODERS[net])) if net in DECODERS else None


def decoder(width: int, inner: int, layers: int, heads: int) -> Any:
    import transformers

    sizes = {"hidden_size": width, "intermediate_size": inner}
    config = transformers.LlamaConfig(**sizes, num_hidden_layers=layers, num_attention_heads=heads)
    return transformers.LlamaForCausalLM(config).eval()


def ids() -> dict[str, Any]:
    import torch

    return {"input_ids": torch.arange(5, 5 + TOKENS)[None]}


def l1() -> Any:
    import torch_pruning as tp

    return tp.importance.MagnitudeImportance(p=1)


if __name__ == "__main__":
    main()
