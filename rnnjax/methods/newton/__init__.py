"""All steps at once, by Newton's iteration on the whole sequence."""

from rnnjax.methods.newton.method import Newton as Newton
from rnnjax.methods.newton.method import NewtonReport as NewtonReport
