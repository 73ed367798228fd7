"""How much memory each step of pruning takes at its peak, on ResNet-50, beside the size of the model.

    python benchmarks/memory.py                  # ResNet-50 at 224 px: a minute or two
    python benchmarks/memory.py --model resnet18

Each step runs in a process of its own, after all steps before it: the peak of resident memory (`ru_maxrss`) during the
step is compared with the peak before it, and with what is resident when it starts. "More" is over what was resident, so
it holds what the step itself asks for, and what earlier steps freed and the allocator kept does not hide it: memory is
handed back to the system first and the peak is reset (`/proc/self/clear_refs`).
"""

from __future__ import annotations

import ctypes
import gc
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from results_file import ResultsFile, arguments

STEPS = ("forward", "trace", "observe", "importance", "plan", "certificate", "prune_", "save", "load", "export")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=STEPS)
    parser.add_argument("--alone", action="store_true", help="measure one step here and print it (for the children)")
    options = parser.parse_args()
    if options.smoke:
        options.model, options.steps = "resnet18", ["plan", "prune_"]
    if options.alone:
        print(json.dumps(alone(options.model, options.steps[0])))
        return
    results = ResultsFile.of(options, "memory", key=("model", "step"))
    for step in options.steps:
        command = [sys.executable, "-W", "ignore", __file__, "--alone", "--model", options.model, "--steps", step]
        child = subprocess.run(command, capture_output=True, text=True, check=True)
        results.append({"model": options.model, "step": step, **json.loads(child.stdout.splitlines()[-1])})


def alone(name: str, step: str) -> dict[str, float]:
    """MiB: the model's tensors, what was resident before the step, the peak during it, and the difference."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        work = prepared(name, step, Path(folder))
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = resident_mib("VmRSS")
        size = work()
        peak = resident_mib("VmHWM")
    told = {"model_mib": size, "before_mib": before, "peak_mib": peak, "more_mib": peak - before}
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {key: round(value, 1) for key, value in {**told, "process_peak_mib": whole}.items()}


def resident_mib(which: str) -> float:
    """VmRSS is what is resident now, VmHWM the most since the last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024


def prepared(name: str, step: str, folder: Path) -> Callable[[], float]:
    """The step, ready to run, on a model that has been through one forward pass; it gives the model's size in MiB."""
    import timm
    import torch

    import infoprune as ip

    model = timm.create_model(name).eval()
    x = torch.randn(1, *model.pretrained_cfg["input_size"])
    size = sum(t.numel() * t.element_size() for t in model.state_dict().values()) / 2**20
    with torch.no_grad():
        model(x)
    importance = ip.importance.CapacityIndependenceImportance()
    made: dict[str, Any] = {}
    if step in STEPS[STEPS.index("certificate") :]:
        made["plan"] = ip.plan(model, x, importance, budgets=[ip.budgets.macs(keep=0.5)])
    if step in ("save", "load", "export"):
        ip.prune_(model, x, made["plan"], certify=False)
    if step == "load":
        ip.save(folder / "artefact", model, made["plan"])

    def run() -> float:
        with torch.no_grad():
            made["kept"] = does[step]()
        return size

    does: dict[str, Callable[[], Any]] = {
        "forward": lambda: model(x),
        "trace": lambda: ip.Graph.trace(model, x),
        "observe": lambda: ip.observe(model, [torch.randn(8, *x.shape[1:])], progress=False),
        "importance": importance_of(model, x, importance) if step == "importance" else lambda: None,
        "plan": lambda: ip.plan(model, x, importance, budgets=[ip.budgets.macs(keep=0.5)]),
        "certificate": lambda: ip.certificate_of(model, x, made["plan"]),
        "prune_": lambda: ip.prune_(model, x, made["plan"]),
        "save": lambda: ip.save(folder / "artefact", model, made["plan"]),
        "load": lambda: ip.load(folder / "artefact"),
        "export": lambda: ip.export(model, x, folder / "model.onnx"),
    }
    return run


def importance_of(model: Any, x: Any, importance: Any) -> Callable[[], Any]:
    """All groups scored, the host's graph built before."""
    import torch_pruning as tp

    graph = tp.DependencyGraph().build_dependency(model, (x,))
    groups = list(graph.get_all_groups(ignored_layers=[model.get_classifier()]))
    return lambda: [importance(group) for group in groups]


if __name__ == "__main__":
    main()
