"""Cells over time: the driver, the layers, and helpers for padded sequences."""

from rnnjax.sequence import merge as merge
from rnnjax.sequence.batch_norm import unroll_batch_norm as unroll_batch_norm
from rnnjax.sequence.bidirectional import bidirectional as bidirectional
from rnnjax.sequence.dense import DenseParams as DenseParams
from rnnjax.sequence.dense import dense as dense
from rnnjax.sequence.embedding import EmbeddingParams as EmbeddingParams
from rnnjax.sequence.embedding import embedding as embedding
from rnnjax.sequence.layer import Layer as Layer
from rnnjax.sequence.layer import pointwise as pointwise
from rnnjax.sequence.layer import recurrent as recurrent
from rnnjax.sequence.masks import last_output as last_output
from rnnjax.sequence.masks import lengths_to_mask as lengths_to_mask
from rnnjax.sequence.masks import mask_to_lengths as mask_to_lengths
from rnnjax.sequence.masks import reverse_sequences as reverse_sequences
from rnnjax.sequence.params import count_parameters as count_parameters
from rnnjax.sequence.params import params_from_dict as params_from_dict
from rnnjax.sequence.params import params_to_dict as params_to_dict
from rnnjax.sequence.penalties import activation_penalty as activation_penalty
from rnnjax.sequence.penalties import temporal_penalty as temporal_penalty
from rnnjax.sequence.report import newton_report as newton_report
from rnnjax.sequence.stack import stack as stack
from rnnjax.sequence.stepper import Stepper as Stepper
from rnnjax.sequence.stepper import stepper as stepper
from rnnjax.sequence.unroll import explain as explain
from rnnjax.sequence.unroll import unroll as unroll
