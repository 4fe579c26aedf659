"""Weights in and out of other frameworks, without loss or not at all."""

from rnnjax.interop import course as course
from rnnjax.interop.course import course_to_rnnjax as course_to_rnnjax
from rnnjax.interop.course import rnnjax_to_course as rnnjax_to_course
from rnnjax.interop.equinox import equinox_to_rnnjax as equinox_to_rnnjax
from rnnjax.interop.equinox import rnnjax_to_equinox as rnnjax_to_equinox
from rnnjax.interop.haiku import haiku_to_rnnjax as haiku_to_rnnjax
from rnnjax.interop.haiku import rnnjax_to_haiku as rnnjax_to_haiku
from rnnjax.interop.linen import linen_to_rnnjax as linen_to_rnnjax
from rnnjax.interop.linen import rnnjax_to_linen as rnnjax_to_linen
from rnnjax.interop.nnx import nnx_to_rnnjax as nnx_to_rnnjax
from rnnjax.interop.nnx import rnnjax_to_nnx as rnnjax_to_nnx
from rnnjax.interop.pytorch import rnnjax_to_torch as rnnjax_to_torch
from rnnjax.interop.pytorch import torch_to_rnnjax as torch_to_rnnjax
from rnnjax.interop.report import Converted as Converted
from rnnjax.interop.report import Foreign as Foreign
from rnnjax.interop.report import Report as Report
from rnnjax.interop.report import Row as Row
