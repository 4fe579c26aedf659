"""Weights in and out of other frameworks, without loss or not at all."""

from rnnjax.interop.cudnn import cudnn_to_rnnjax as cudnn_to_rnnjax
from rnnjax.interop.cudnn import rnnjax_to_cudnn as rnnjax_to_cudnn
from rnnjax.interop.keras_layers import keras_to_rnnjax as keras_to_rnnjax
from rnnjax.interop.keras_layers import rnnjax_to_keras as rnnjax_to_keras
from rnnjax.interop.onnx_operators import onnx_to_rnnjax as onnx_to_rnnjax
from rnnjax.interop.onnx_operators import rnnjax_to_onnx as rnnjax_to_onnx
from rnnjax.interop.pytorch import rnnjax_to_torch as rnnjax_to_torch
from rnnjax.interop.pytorch import torch_to_rnnjax as torch_to_rnnjax
from rnnjax.interop.report import Converted as Converted
from rnnjax.interop.report import Foreign as Foreign
from rnnjax.interop.report import Report as Report
from rnnjax.interop.report import Row as Row
