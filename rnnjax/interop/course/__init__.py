"""The NumPy code that courses teach with: the same functions, and its weights in and out.

Columns are examples: a step is `(n_x, m)`, a sequence `(n_x, m, T_x)`, a state `(n_a, m)`. Every
gate's weights `(n_a, n_a + n_x)` multiply the state on top of the input, and its bias is
`(n_a, 1)`. An LSTM has `Wf bf Wi bi Wo bo Wc bc`, a GRU `W_r b_r W_z b_z W_a b_a`, a dense layer
`W b`.
"""

from rnnjax.interop.course.caches import GRUCache as GRUCache
from rnnjax.interop.course.caches import LSTMCache as LSTMCache
from rnnjax.interop.course.caches import ModelOutput as ModelOutput
from rnnjax.interop.course.converting import course_to_rnnjax as course_to_rnnjax
from rnnjax.interop.course.converting import rnnjax_to_course as rnnjax_to_course
from rnnjax.interop.course.forward import dense_layer_forward as dense_layer_forward
from rnnjax.interop.course.forward import lstm_forward as lstm_forward
from rnnjax.interop.course.forward import lstm_model_forward as lstm_model_forward
from rnnjax.interop.course.forward import model_forward as model_forward
from rnnjax.interop.course.steps import gru_cell as gru_cell
from rnnjax.interop.course.steps import lstm_cell as lstm_cell
