"""Batches of sequences: length buckets and windows over long streams, with Grain."""

from rnnjax.data.batch import Batch as Batch
