"""Other people's static int8: what they are told, and nothing of ours."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from infoprune.errors import ExportFailed, MissingExtra, first_line
from infoprune.export import intel
from infoprune.export.onnx_files import LARGEST_FILE, record_of, write_record

Quantiser = Callable[[Path, Path, Sequence[Sequence[Tensor]]], None]  # of a file, to a file, from batches


def by_onnxruntime(source: Path, target: Path, batches: Sequence[Sequence[Tensor]]) -> None:
    """ONNX Runtime's static quantisation: pairs of QuantizeLinear and DequantizeLinear, weights channel by channel.

    Ranges are the smallest and largest values seen. Weights are signed, as instructions for 8-bit products want them,
    and have seven bits: processors with AVX2 and no VNNI add pairs of products in 16 bits, which eight overflow, so
    that the file would answer differently from one processor to another.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if sum(file.stat().st_size for file in source.parent.iterdir()) >= LARGEST_FILE:
        raise ExportFailed("the model holds 2 GiB or more, which ONNX Runtime quantises in parts only; leave int8 out")
    record = record_of(source)
    with failing_as("ONNX Runtime"), tempfile.TemporaryDirectory() as scratch:
        fused = Path(scratch, "fused.onnx")
        quant_pre_process(source, fused)
        quantize_static(
            fused, target, _reader_of(_input_names(source), batches), quant_format=QuantFormat.QDQ, per_channel=True,
            reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
    write_record(target, {**record, "int8": "onnxruntime, static, u8s7, per channel, min and max"})


def _input_names(path: Path) -> list[str]:
    import onnx

    return [entry.name for entry in onnx.load(path, load_external_data=False).graph.input]


def _reader_of(names: Sequence[str], batches: Sequence[Sequence[Tensor]]):
    """What ONNX Runtime asks for one batch after another until there is None."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = ({n: t.numpy() for n, t in zip(names, batch, strict=True)} for batch in batches)

        def get_next(self):
            return next(self.left, None)

    return Reader()


def by_nncf(source: Path, target: Path, batches: Sequence[Sequence[Tensor]]) -> None:
    """NNCF's post-training quantisation of OpenVINO's files: biases are corrected on the samples too.

    Weights have seven bits here as well. Ranges are means over batches of the extremes in each, so that samples in
    few large batches serve better than the same ones one by one.
    """
    openvino = intel.openvino()
    model = openvino.Core().read_model(source)
    names = [entry.any_name for entry in model.inputs]
    nncf = intel.nncf()
    with failing_as("NNCF"), _silent():
        dataset = nncf.Dataset(batches, lambda batch: {n: t.numpy() for n, t in zip(names, batch, strict=True)})
        seven_bits = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
        int8_model = nncf.quantize(model, dataset, subset_size=len(batches), advanced_parameters=seven_bits)
    openvino.save_model(int8_model, target, compress_to_fp16=False)


@contextmanager
def _silent() -> Iterator[None]:
    """NNCF draws bars and tells of its progress on stdout, where results go."""
    log = logging.getLogger("nncf")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        log.setLevel(level)


@contextmanager
def failing_as(who: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ExportFailed(
            f"{who} can't quantise the model ({type(error).__name__}: {first_line(error):.200}); leave int8 out"
        ) from error


def require_nncf() -> None:
    if find_spec("nncf") is None:
        raise MissingExtra("int8 in .xml needs nncf; install infoprune[nncf], or end the path in .onnx")
