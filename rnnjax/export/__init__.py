"""Networks for other runtimes: ONNX and StableHLO."""

from rnnjax.export.onnx_file import ONNXPart as ONNXPart
from rnnjax.export.onnx_file import ONNXReport as ONNXReport
from rnnjax.export.onnx_file import onnx_report as onnx_report
from rnnjax.export.onnx_file import save_onnx as save_onnx
from rnnjax.export.onnx_file import to_onnx as to_onnx
