"""Recurrent networks for JAX: cells that are values, one `unroll`, and layers over it."""

import importlib
from typing import TYPE_CHECKING, Any

from rnnjax.cells import Cell as Cell
from rnnjax.cells import ElmanCarry as ElmanCarry
from rnnjax.cells import ElmanParams as ElmanParams
from rnnjax.cells import GRUCarry as GRUCarry
from rnnjax.cells import GRUParams as GRUParams
from rnnjax.cells import InputSpec as InputSpec
from rnnjax.cells import LSTMCarry as LSTMCarry
from rnnjax.cells import LSTMParams as LSTMParams
from rnnjax.cells import batch_norm_lstm as batch_norm_lstm
from rnnjax.cells import chrono as chrono
from rnnjax.cells import clip_carry as clip_carry
from rnnjax.cells import conv_gru as conv_gru
from rnnjax.cells import conv_lstm as conv_lstm
from rnnjax.cells import coupled_lstm as coupled_lstm
from rnnjax.cells import drop_connect as drop_connect
from rnnjax.cells import elman as elman
from rnnjax.cells import gru as gru
from rnnjax.cells import hgrn as hgrn
from rnnjax.cells import indrnn as indrnn
from rnnjax.cells import input_dropout as input_dropout
from rnnjax.cells import layer_norm_gru as layer_norm_gru
from rnnjax.cells import layer_norm_lstm as layer_norm_lstm
from rnnjax.cells import layer_norm_outputs as layer_norm_outputs
from rnnjax.cells import lru as lru
from rnnjax.cells import lstm as lstm
from rnnjax.cells import mgu as mgu
from rnnjax.cells import min_gru as min_gru
from rnnjax.cells import min_lstm as min_lstm
from rnnjax.cells import mlstm as mlstm
from rnnjax.cells import mogrifier_lstm as mogrifier_lstm
from rnnjax.cells import multihead_gru as multihead_gru
from rnnjax.cells import multihead_lstm as multihead_lstm
from rnnjax.cells import para_gru as para_gru
from rnnjax.cells import para_lstm as para_lstm
from rnnjax.cells import peephole_lstm as peephole_lstm
from rnnjax.cells import projected_lstm as projected_lstm
from rnnjax.cells import qrnn as qrnn
from rnnjax.cells import recurrent_dropout as recurrent_dropout
from rnnjax.cells import residual as residual
from rnnjax.cells import rg_lru as rg_lru
from rnnjax.cells import scaled_identity as scaled_identity
from rnnjax.cells import slstm as slstm
from rnnjax.cells import sru as sru
from rnnjax.cells import state_noise as state_noise
from rnnjax.cells import with_carries as with_carries
from rnnjax.cells import zoneout as zoneout
from rnnjax.methods import Associative as Associative
from rnnjax.methods import Chunked as Chunked
from rnnjax.methods import Chunkwise as Chunkwise
from rnnjax.methods import Cudnn as Cudnn
from rnnjax.methods import Explanation as Explanation
from rnnjax.methods import Fused as Fused
from rnnjax.methods import Linear as Linear
from rnnjax.methods import Method as Method
from rnnjax.methods import Native as Native
from rnnjax.methods import Newton as Newton
from rnnjax.methods import NewtonReport as NewtonReport
from rnnjax.methods import PallasGPU as PallasGPU
from rnnjax.methods import PallasTPU as PallasTPU
from rnnjax.methods import Scan as Scan
from rnnjax.methods import linear_scan as linear_scan
from rnnjax.sequence import AdditiveAttentionParams as AdditiveAttentionParams
from rnnjax.sequence import Attention as Attention
from rnnjax.sequence import DenseParams as DenseParams
from rnnjax.sequence import DotAttentionParams as DotAttentionParams
from rnnjax.sequence import EmbeddingParams as EmbeddingParams
from rnnjax.sequence import Int8Weights as Int8Weights
from rnnjax.sequence import Layer as Layer
from rnnjax.sequence import Memory as Memory
from rnnjax.sequence import Quantized as Quantized
from rnnjax.sequence import Stepper as Stepper
from rnnjax.sequence import TiedParams as TiedParams
from rnnjax.sequence import activation_penalty as activation_penalty
from rnnjax.sequence import additive_attention as additive_attention
from rnnjax.sequence import bidirectional as bidirectional
from rnnjax.sequence import count_parameters as count_parameters
from rnnjax.sequence import dense as dense
from rnnjax.sequence import dequantize as dequantize
from rnnjax.sequence import dot_attention as dot_attention
from rnnjax.sequence import embedding as embedding
from rnnjax.sequence import explain as explain
from rnnjax.sequence import last_output as last_output
from rnnjax.sequence import lengths_to_mask as lengths_to_mask
from rnnjax.sequence import mask_to_lengths as mask_to_lengths
from rnnjax.sequence import merge as merge
from rnnjax.sequence import newton_report as newton_report
from rnnjax.sequence import params_from_dict as params_from_dict
from rnnjax.sequence import params_to_dict as params_to_dict
from rnnjax.sequence import pointwise as pointwise
from rnnjax.sequence import quantize as quantize
from rnnjax.sequence import quantized as quantized
from rnnjax.sequence import recurrent as recurrent
from rnnjax.sequence import reverse_sequences as reverse_sequences
from rnnjax.sequence import stack as stack
from rnnjax.sequence import stepper as stepper
from rnnjax.sequence import temporal_penalty as temporal_penalty
from rnnjax.sequence import tied_embedding as tied_embedding
from rnnjax.sequence import unroll as unroll
from rnnjax.sequence import unroll_batch_norm as unroll_batch_norm
from rnnjax.storage import Loaded as Loaded
from rnnjax.storage import build as build
from rnnjax.storage import describe as describe
from rnnjax.storage import load as load
from rnnjax.storage import load_arrays as load_arrays
from rnnjax.storage import load_weights as load_weights
from rnnjax.storage import save as save
from rnnjax.storage import save_weights as save_weights

if TYPE_CHECKING:
    from rnnjax import data as data
    from rnnjax import decoding as decoding
    from rnnjax import export as export
    from rnnjax import interop as interop
    from rnnjax import linen as linen
    from rnnjax import nnx as nnx
    from rnnjax import plots as plots
    from rnnjax import testing as testing
    from rnnjax import train as train

__version__ = "0.1.0"

_ROOMS = "nnx linen testing data decoding train plots interop export".split()


def __getattr__(name: str) -> Any:
    # On first use, so that `import rnnjax` needs jax alone.
    if name in _ROOMS:
        return importlib.import_module(f"rnnjax.{name}")
    raise AttributeError(f"module 'rnnjax' has no attribute {name!r}")
