"""Weights in and out of other frameworks, without loss or not at all."""
