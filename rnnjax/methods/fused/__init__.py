"""Whole sequences as one function with its own gradient."""

from rnnjax.methods.fused.method import Fused as Fused
