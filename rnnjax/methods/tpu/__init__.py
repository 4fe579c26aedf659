"""LSTM and GRU on TPU: one kernel runs all steps, and the recurrent weights stay on the chip."""

from rnnjax.methods.tpu.method import PallasTPU as PallasTPU
