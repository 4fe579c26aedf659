"""Methods for cells that are linear in their carry."""

from rnnjax.methods.linear.associative import Associative as Associative
from rnnjax.methods.linear.scan import linear_scan as linear_scan
from rnnjax.methods.linear.segments import Linear as Linear
