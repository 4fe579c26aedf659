"""Sequences written step by step: greedily, by drawing, or as the best of several beams."""

from rnnjax.decoding.beams import Beams as Beams
from rnnjax.decoding.beams import beam_search as beam_search
from rnnjax.decoding.choosing import greedy as greedy
from rnnjax.decoding.choosing import sampling as sampling
from rnnjax.decoding.generating import Generated as Generated
from rnnjax.decoding.generating import generate as generate
from rnnjax.decoding.steps import step_of as step_of
