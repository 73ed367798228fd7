"""Written files, run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from infoprune.export import intel
from infoprune.export.programs import quiet
from infoprune.graph.arguments import Arguments
from infoprune.graph.nested import outputs_of

Runtime = Callable[[Arguments], list[Tensor]]


def onnx_runtime(path: Path) -> Runtime:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(inputs: Arguments) -> list[Tensor]:
        values = [t.detach().cpu().numpy() for t in inputs.tensors]
        return [torch.from_numpy(value) for value in session.run(None, dict(zip(names, values, strict=True)))]

    return run


def openvino_runtime(path: Path) -> Runtime:
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    compiled = intel.openvino().Core().compile_model(path, "CPU", settings)

    def run(inputs: Arguments) -> list[Tensor]:
        outputs = compiled([t.detach().cpu().numpy() for t in inputs.tensors])
        return [torch.from_numpy(outputs[place].copy()) for place in range(len(compiled.outputs))]

    return run


def torch_runtime(path: Path) -> Runtime:
    with quiet():
        module = torch.export.load(path).module()
    return lambda inputs: outputs_of(inputs.run(module))


class Running(nn.Module):
    """A written file under a module's call, one tensor in and the first output back; judged as models are."""

    def __init__(self, run: Runtime):
        super().__init__()
        self.run = run
        self.here = nn.Parameter(torch.empty(0), requires_grad=False)  # a module is where its parameters are: the CPU

    def forward(self, x: Tensor) -> Tensor:
        return self.run(Arguments.of(x))[0]
