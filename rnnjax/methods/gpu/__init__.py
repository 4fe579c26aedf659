"""LSTM and GRU on GPU: one kernel runs all steps, and the recurrent weights stay on the chip."""

from rnnjax.methods.gpu.method import PallasGPU as PallasGPU
