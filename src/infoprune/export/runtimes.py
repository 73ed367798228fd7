"""Written files, run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from infoprune.export.programs import quiet
from infoprune.graph.arguments import Arguments
from infoprune.graph.nested import outputs_of

Runtime = Callable[[Arguments], list[Tensor]]


def onnx_runtime(path: Path) -> Runtime:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(inputs: Arguments) -> list[Tensor]:
        values = [t.detach().cpu().numpy() for t in inputs.tensors]
        return [torch.from_numpy(value) for value in session.run(None, dict(zip(names, values, strict=True)))]

    return run


def torch_runtime(path: Path) -> Runtime:
    with quiet():
        module = torch.export.load(path).module()
    return lambda inputs: outputs_of(inputs.run(module))
