"""The LSTM by NVIDIA's library, cuDNN."""

from rnnjax.methods.cudnn.method import Cudnn as Cudnn
