"""The loops over time as compiled C++, on CPU."""

from rnnjax.methods.native.method import Native as Native
