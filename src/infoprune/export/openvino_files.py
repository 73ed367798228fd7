"""A program as OpenVINO's two files: .xml names the operations, .bin beside it holds the numbers."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

from torch.export import ExportedProgram

from infoprune.errors import MissingExtra
from infoprune.export import intel
from infoprune.export.onnx_files import require_onnx, write_onnx


def write_openvino(program: ExportedProgram, draft: Path, batch: str | None, opset: int | None) -> int:
    """By way of ONNX, in single precision; what is returned is the ONNX operator set."""
    openvino = intel.openvino()
    with tempfile.TemporaryDirectory() as scratch:
        between = Path(scratch, "model.onnx")
        onnx_opset = write_onnx(program, between, batch, opset)
        openvino.save_model(openvino.Core().read_model(between), draft, compress_to_fp16=False)
    return onnx_opset


def require_openvino() -> None:
    require_onnx()
    if find_spec("openvino") is None:
        raise MissingExtra("exporting to .xml needs openvino; install infoprune[openvino]")
