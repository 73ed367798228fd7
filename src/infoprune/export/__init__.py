"""A model as a file for a runtime, compared with the model before it is kept."""

from infoprune.export.exporting import Exported as Exported
from infoprune.export.exporting import export as export
from infoprune.export.int8 import SAMPLES as SAMPLES
from infoprune.export.int8 import Quantised as Quantised
from infoprune.export.runtimes import Running as Running
from infoprune.export.runtimes import onnx_runtime as onnx_runtime
