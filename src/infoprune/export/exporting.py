"""export(): a model as ONNX or as a torch.export program, compared with the model before it is kept."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infoprune.errors import ExportFailed, MissingExtra, first_line
from infoprune.files import replacing
from infoprune.graph.arguments import Arguments
from infoprune.graph.evaluating import evaluating
from infoprune.graph.nested import outputs_of
from infoprune.graph.wrappers import bare
from infoprune.require import require_model, require_path

Form = Literal["onnx", "torch.export"]
FORMS: Mapping[str, Form] = {".onnx": "onnx", ".pt2": "torch.export"}
BATCHES = (1, 3)  # one below and one above the batch of two that is traced
TOLERANCE = 1e-4  # of the largest output: single precision in another order of operations stays a hundred times below
LARGEST_FILE = 2 << 30  # protobuf's limit: weights of larger models go to a file beside the ONNX file
KEY = "infoprune.export"

Runtime = Callable[[Arguments], list[Tensor]]


@dataclass(frozen=True)
class Exported:
    """What was written and how it compares with the model.

    `batch` is the name of the axis that is free, None where the model fixes it; `differences` holds, for each batch
    size that was tried, the largest difference as a fraction of the largest output, and `scale` that output. Where it
    is 0, as behind a head that starts at zero, nothing was compared.
    """

    path: Path
    form: Form
    opset: int | None
    batch: str | None
    differences: Mapping[int, float]
    scale: float

    def __str__(self) -> str:
        opset = "" if self.opset is None else f", opset {self.opset}"
        told = ", ".join(f"{difference:.1e} at batch {size}" for size, difference in self.differences.items())
        how = f"differs by {told}" if self.scale else "all outputs are zero, so nothing was compared"
        return f"{self.path}: {self.form}{opset}, {'free' if self.batch else 'fixed'} batch; {how}"


def export(
    model: nn.Module, example_inputs: Any, path: str | os.PathLike[str], *, opset: int | None = None
) -> Exported:
    """Write `model` to `path`: ONNX for `.onnx`, a torch.export program for `.pt2`.

    The batch axis is left free where the model allows it. The file is run (by ONNX Runtime, or torch) on random
    inputs at two batch sizes, and kept only if its outputs are the model's up to 1e-4 of the largest one;
    otherwise ExportFailed says how far off they are and what was at `path` stays. Outputs come flat, in the
    model's order. The model is exported in evaluation mode and left as it was.
    """
    require_model(model)
    require_path(path, "path", "of the file")
    target = Path(path)
    form = FORMS.get(target.suffix)
    if form is None:
        raise ValueError(f"path ends in {target.suffix!r}; end it in .onnx or, for torch.export, .pt2")
    if opset is not None and form != "onnx":
        raise ValueError(f"opset is {opset}, and {target.name} is not ONNX; leave it out or end the path in .onnx")
    if form == "onnx":
        _require_onnx()
    model, inputs = bare(model), Arguments.of(example_inputs)
    with evaluating(model), torch.no_grad(), tempfile.TemporaryDirectory() as scratch:
        program, batch = _program(model, inputs)
        draft = Path(scratch) / target.name
        found_opset = _write_onnx(program, draft, batch, opset) if form == "onnx" else _write_program(program, draft)
        runtime = _onnx_runtime(draft) if form == "onnx" else _torch_runtime(draft)
        differences, scale = _differences(model, inputs, runtime, BATCHES if batch else (None,))
        _require_equal(differences, target)
        _keep(Path(scratch), target)
    return Exported(target, form, found_opset, batch, differences, scale)


# ---------------------------------------------------------------------------------------------------- writing


def _program(model: nn.Module, inputs: Arguments) -> tuple[torch.export.ExportedProgram, str | None]:
    """The model as a program whose batch is free if it can be, with the name of that axis."""
    with _quiet(), _attention_in_four_axes():
        if _batch_of(inputs) is not None:
            try:
                return _exported(model, _resized(inputs, 2), _free_batch(inputs)), "batch"
            except Exception:  # the model's own code fixes the batch; the second try says what else is wrong
                pass
        try:
            return _exported(model, inputs, None), None
        except Exception as error:
            raise ExportFailed(
                f"torch.export can't follow {type(model).__name__} ({type(error).__name__}: {first_line(error):.200}); "
                "rewrite what depends on values of tensors, or export a part of the model"
            ) from error


def _exported(model: nn.Module, inputs: Arguments, shapes: Any) -> torch.export.ExportedProgram:
    return torch.export.export(model, inputs.positional, dict(inputs.named), dynamic_shapes=shapes)


def _free_batch(inputs: Arguments) -> Any:
    """The first axis of every tensor free, by position or by name."""
    free = [{0: torch.export.Dim("batch")} if isinstance(value, Tensor) else None for value in inputs.values]
    return dict(zip(inputs.named, free, strict=True)) if inputs.named else tuple(free)


def _write_program(program: torch.export.ExportedProgram, draft: Path) -> None:
    with _quiet():
        torch.export.save(program, draft)


def _write_onnx(program: torch.export.ExportedProgram, draft: Path, batch: str | None, opset: int | None) -> int:
    import onnx

    size = sum(t.numel() * t.element_size() for t in program.state_dict.values())
    shapes: dict[str, Any] = {}
    if batch is not None:
        shapes["dynamic_shapes"] = tuple({0: torch.export.Dim(batch)} for _ in _names(program))
    try:
        with _quiet():
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
    found = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset not in (None, found):
        raise ExportFailed(
            f"opset {opset} was asked for and the exporter could write the model as opset {found} alone; leave it out"
        )
    record = {"opset": found, "batch": batch, "infoprune": version("infoprune"), "torch": torch.__version__}
    onnx.helper.set_model_props(model, {KEY: json.dumps(record)})
    onnx.save(model, draft)
    return found


def _names(program: torch.export.ExportedProgram) -> list[str]:
    return [str(name) for name in program.graph_signature.user_inputs]


def _keep(scratch: Path, target: Path) -> None:
    """Everything that was written, put beside each other at `target`; the named file last."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for file in sorted(scratch.iterdir(), key=lambda file: file.name == target.name):
        with replacing(target.with_name(file.name)) as draft:
            shutil.copyfile(file, draft)


# -------------------------------------------------------------------------------------------------- comparing


def _differences(
    model: nn.Module, inputs: Arguments, run: Runtime, batches: Sequence[int | None]
) -> tuple[dict[int, float], float]:
    """batch size -> the largest difference as a fraction of the largest output; and the smallest such output."""
    found, scales = {}, []
    for size in batches:
        sample = inputs if size is None else _resized(inputs, size)
        ours = outputs_of(sample.run(model))
        scales.append(max((float(t.double().abs().max()) for t in ours if t.numel()), default=0.0))
        gap = _furthest(ours, run(sample))
        found[size or _batch_of(inputs) or 1] = gap / scales[-1] if scales[-1] else gap
    return found, min(scales)


def _furthest(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest difference; infinite where shapes differ."""
    if [t.shape for t in ours] != [t.shape for t in theirs]:
        return float("inf")
    gaps = [float((a.double() - b.double()).abs().max()) for a, b in zip(ours, theirs, strict=True) if a.numel()]
    return max(gaps, default=0.0)


def _require_equal(differences: Mapping[int, float], target: Path) -> None:
    bad = {size: difference for size, difference in differences.items() if not difference <= TOLERANCE}
    if bad:
        size, difference = next(iter(bad.items()))
        raise ExportFailed(
            f"the exported model differs from the model by {difference:.1e} of the largest output at batch {size}, "
            f"more than {TOLERANCE:g}; {target.name} was not written, try another opset or form"
        )


def _onnx_runtime(path: Path) -> Runtime:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(inputs: Arguments) -> list[Tensor]:
        values = [t.detach().cpu().numpy() for t in inputs.tensors]
        return [torch.from_numpy(value) for value in session.run(None, dict(zip(names, values, strict=True)))]

    return run


def _torch_runtime(path: Path) -> Runtime:
    with _quiet():
        module = torch.export.load(path).module()
    return lambda inputs: outputs_of(inputs.run(module))


def _require_onnx() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(name) is None:
            raise MissingExtra(f"exporting to ONNX needs {name}; install infoprune[export]")


# ----------------------------------------------------------------------------------------------------- inputs


def _batch_of(inputs: Arguments) -> int | None:
    """The batch size that all tensors share; None where they share none, are packed in something, or mix both ways."""
    plain = all(x is None or isinstance(x, Tensor | bool | int | float | str) for x in inputs.values)
    sizes = {len(t) if t.dim() else None for t in inputs.tensors}
    return sizes.pop() if plain and len(sizes) == 1 and not (inputs.positional and inputs.named) else None


def _resized(inputs: Arguments, size: int) -> Arguments:
    """`size` samples like the examples: floating point ones drawn at their spread, others repeated."""
    generator = torch.Generator().manual_seed(size)
    return inputs.map(lambda tensor: _like(tensor, size, generator))


def _like(example: Tensor, size: int, generator: torch.Generator) -> Tensor:
    if not example.is_floating_point():
        return example[torch.arange(size) % len(example)]
    spread = float(example.std()) if example.numel() > 1 else 0.0
    drawn = torch.randn((size, *example.shape[1:]), generator=generator) * (spread or 1.0) + float(example.mean())
    return drawn.to(example)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters warn about themselves; what counts is measured afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _attention_in_four_axes() -> Iterator[None]:
    """ONNX's exporter translates attention over batch x heads x places x numbers alone; windows are a fifth axis."""
    attention = F.scaled_dot_product_attention

    def folded(query: Tensor, key: Tensor, value: Tensor, *arguments: Any, **options: Any) -> Tensor:
        if query.dim() <= 4 or arguments or options.get("attn_mask") is not None:
            return attention(query, key, value, *arguments, **options)
        q, k, v = (part.flatten(0, -4) for part in (query, key, value))
        return attention(q, k, v, **options).unflatten(0, query.shape[:-3])

    F.scaled_dot_product_attention = folded
    try:
        yield
    finally:
        F.scaled_dot_product_attention = attention
