"""Methods: how a sequence is run. One method a file."""

from rnnjax.methods.base import Call as Call
from rnnjax.methods.base import Method as Method
from rnnjax.methods.choice import Explanation as Explanation
from rnnjax.methods.chunked import Chunked as Chunked
from rnnjax.methods.chunkwise import Chunkwise as Chunkwise
from rnnjax.methods.cudnn import Cudnn as Cudnn
from rnnjax.methods.fused import Fused as Fused
from rnnjax.methods.gpu import PallasGPU as PallasGPU
from rnnjax.methods.linear import Associative as Associative
from rnnjax.methods.linear import Linear as Linear
from rnnjax.methods.linear import linear_scan as linear_scan
from rnnjax.methods.native import Native as Native
from rnnjax.methods.newton import Newton as Newton
from rnnjax.methods.newton import NewtonReport as NewtonReport
from rnnjax.methods.scan import Scan as Scan
from rnnjax.methods.tpu import PallasTPU as PallasTPU
