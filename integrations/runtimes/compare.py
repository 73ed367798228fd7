"""A network dense and pruned, timed in torch, torch.compile, ONNX Runtime and OpenVINO: one table."""

import argparse
import tempfile
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
import torch_pruning as tp
from torch import nn

import infoprune as ip

RUNTIMES = {"torch": "torch", "torch.compile": "torch", "onnxruntime": "export", "openvino": "openvino"}  # extras

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="resnet18", help="a name of timm's")
parser.add_argument("--size", type=int, default=224)
parser.add_argument("--batch", type=int, default=1)
parser.add_argument("--macs", type=float, default=0.5, help="share of the MACs that remains")
parser.add_argument("--seconds", type=float, default=10.0, help="of timing for each runtime")
parser.add_argument("--runtimes", nargs="+", default=list(RUNTIMES), choices=list(RUNTIMES))
options = parser.parse_args()


class Session(nn.Module):
    """A runtime's program under a module's call, so that `ip.compare_latency` times it as it times torch."""

    def __init__(self, run):
        super().__init__()
        self.run = run

    def forward(self, x):
        return torch.from_numpy(self.run(x.numpy()))


def in_onnxruntime(path):
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return Session(lambda x: session.run(None, {name: x})[0])


def in_openvino(path):
    import openvino

    core = openvino.Core()
    network = core.read_model(path)
    network.reshape([options.batch, 3, options.size, options.size])
    compiled = core.compile_model(
        network, "CPU", {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    )
    return Session(lambda x: compiled(x)[0].copy())


def ready(model, runtime, path):
    if runtime == "torch":
        return model
    if runtime == "torch.compile":
        return torch.compile(model)
    if not path.exists():
        ip.export(model, x, path)
    return (in_onnxruntime if runtime == "onnxruntime" else in_openvino)(path)


torch.manual_seed(0)
x = torch.randn(options.batch, 3, options.size, options.size)
dense = timm.create_model(options.model).eval()
pruned = timm.create_model(options.model).eval()
pruned.load_state_dict(dense.state_dict())
importance = tp.importance.MagnitudeImportance(p=2)
plan = ip.plan(pruned, x, importance, budgets=[ip.budgets.macs(keep=options.macs)], round_to=8)
ip.prune_(pruned, x, plan)

title = f"{options.model}, {options.batch} x 3 x {options.size} x {options.size}, {torch.get_num_threads()} thread(s)"
print(f"{title}, {plan.prices['macs'].keep:.1%} of the MACs\n")
print("| runtime | dense, ms | pruned, ms | pruned / dense (99.5 % interval) | rounds | off torch by |")
print("|---|--:|--:|---|--:|--:|")
with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
    for runtime in options.runtimes:
        if runtime == "openvino" and find_spec("openvino") is None:
            print(f"openvino is not installed; pip install 'infoprune[{RUNTIMES[runtime]}]'")
            continue
        pair = [ready(m, runtime, Path(folder, f"{n}.onnx")) for n, m in (("dense", dense), ("pruned", pruned))]
        expected = pruned(x)
        off = float((pair[1](x) - expected).abs().max() / expected.abs().max())
        told = ip.compare_latency(*pair, x, seconds=options.seconds)
        low, high = told.ratio_interval
        print(
            f"| {runtime} | {told.dense_ms:.2f} | {told.pruned_ms:.2f} | {told.ratio:.3f} ({low:.3f} to {high:.3f}) | "
            f"{told.rounds} | {off:.0e} |"
        )
