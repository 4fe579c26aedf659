"""Batches of sequences: rows in memory, length buckets with Grain, windows over long streams."""

from rnnjax.data.batch import Batch as Batch
from rnnjax.data.batches import Batches as Batches
from rnnjax.data.in_memory import Rows as Rows
from rnnjax.data.in_memory import rows as rows
from rnnjax.data.padded import Buckets as Buckets
from rnnjax.data.padded import buckets as buckets
from rnnjax.data.padding import pad_sequences as pad_sequences
from rnnjax.data.streams import Windows as Windows
from rnnjax.data.streams import windows as windows
from rnnjax.data.vocabulary import Vocabulary as Vocabulary
from rnnjax.data.vocabulary import vocabulary as vocabulary
from rnnjax.data.words import words as words
