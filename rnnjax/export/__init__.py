"""Networks for other runtimes: ONNX and StableHLO."""

from rnnjax.export.graph import Port as Port
from rnnjax.export.onnx_model import ONNXPart as ONNXPart
from rnnjax.export.onnx_model import ONNXReport as ONNXReport
from rnnjax.export.onnx_model import onnx_report as onnx_report
from rnnjax.export.onnx_model import to_onnx as to_onnx
from rnnjax.export.saving import save as save
from rnnjax.export.stablehlo import to_stablehlo as to_stablehlo
