"""A program as an ONNX file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from infoprune.errors import ExportFailed, MissingExtra, first_line
from infoprune.export.programs import quiet

LARGEST_FILE = 2 << 30  # protobuf's limit: weights of larger models go to a file beside the ONNX file
KEY = "infoprune.export"


def write_onnx(program: torch.export.ExportedProgram, draft: Path, batch: str | None, opset: int | None) -> int:
    import onnx

    size = sum(t.numel() * t.element_size() for t in program.state_dict.values())
    shapes: dict[str, Any] = {}
    if batch is not None:
        shapes["dynamic_shapes"] = tuple({0: torch.export.Dim(batch)} for _ in _names(program))
    try:
        with quiet():
            torch.onnx.export(
                program, (), draft, dynamo=True, verbose=False, external_data=size >= LARGEST_FILE,
                opset_version=opset, **shapes,
            )  # fmt: skip
    except Exception as error:
        raise ExportFailed(
            f"the ONNX exporter can't translate the model ({type(error).__name__}: {first_line(error):.200}); "
            "try another opset, or .pt2"
        ) from error
    model = onnx.load(draft, load_external_data=False)
    actual = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset not in (None, actual):
        raise ExportFailed(
            f"opset {opset} was asked for and the exporter could write the model as opset {actual} alone; leave it out"
        )
    write_record(
        draft, {"opset": actual, "batch": batch, "infoprune": version("infoprune"), "torch": torch.__version__}
    )
    return actual


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """What the file says of how it was made."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    onnx.helper.set_model_props(model, {KEY: json.dumps(record)})
    onnx.save(model, path)


def record_of(path: Path) -> dict[str, Any]:
    import onnx

    entries = {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}
    return json.loads(entries[KEY])


def _names(program: torch.export.ExportedProgram) -> list[str]:
    return [str(name) for name in program.graph_signature.user_inputs]


def require_onnx() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(name) is None:
            raise MissingExtra(f"exporting to ONNX needs {name}; install infoprune[export]")
