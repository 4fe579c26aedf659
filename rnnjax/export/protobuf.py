"""Graphs in the classes of onnx."""

import importlib.metadata
from typing import TYPE_CHECKING, Any

from rnnjax import _checks
from rnnjax.export.graph import Graph, Port

if TYPE_CHECKING:
    import onnx

LEAST_OPSET, OPSET = 14, 17


def check_opset(function: str, opset: Any) -> None:
    """Refuse versions in which recurrent operators differ."""
    if _checks.size(function, "opset", opset) < LEAST_OPSET:
        way_out = "the operators differ in older ones"
        _checks.refuse(function, "opset", f"be at least {LEAST_OPSET}", opset, way_out)


def model_of(function: str, graph: Graph, opset: int, text: str) -> "onnx.ModelProto":
    """The graph as a model, checked; `text` is its `doc_string`."""
    try:
        import onnx
    except ImportError as error:
        message = f"{function}: onnx is not installed; pip install rnnjax[export]."
        raise ImportError(message) from error
    if opset > onnx.defs.onnx_opset_version():
        way_out = f"install a newer onnx, or leave it out for {OPSET}"
        _checks.refuse(function, "opset", f"be known to onnx {onnx.__version__}", opset, way_out)
    helper = onnx.helper
    codes = {"float32": onnx.TensorProto.FLOAT, "int32": onnx.TensorProto.INT32}
    codes["int64"] = onnx.TensorProto.INT64

    def port(it: Port) -> "onnx.ValueInfoProto":
        return helper.make_tensor_value_info(it.name, codes[it.dtype], it.shape)

    nodes = []
    for node in graph.nodes:
        made = helper.make_node(node.operator, node.inputs, node.outputs, node.outputs[0])
        for name, value in node.attributes.items():
            value = codes[value] if node.operator == "Cast" else value
            made.attribute.append(helper.make_attribute(name, value))
        nodes.append(made)
    constants = [onnx.numpy_helper.from_array(array, n) for n, array in graph.constants.items()]
    inputs, outputs = map(port, graph.inputs), map(port, graph.outputs)
    made = helper.make_graph(nodes, "rnnjax", list(inputs), list(outputs), constants)
    versions = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        made,
        opset_imports=versions,
        ir_version=helper.find_min_ir_version_for(versions),
        producer_name="rnnjax",
        producer_version=_version(),
        doc_string=text,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _version() -> str:
    """That of rnnjax; empty where it runs without being installed."""
    try:
        return importlib.metadata.version("rnnjax")
    except importlib.metadata.PackageNotFoundError:
        return ""
