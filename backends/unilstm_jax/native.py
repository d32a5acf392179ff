"""JAX has an LSTM of its own on NVIDIA GPUs alone. Else the kernel runs, or the equations, step by step or at once."""

from __future__ import annotations

import jax

from unilstm import parallel
from unilstm.paths import Path
from unilstm.run import composed
from unilstm.spec import LSTMSpec

from . import cudnn, kernel
from .ops import OPS
from .scan import scan


def paths(spec: LSTMSpec) -> tuple[Path, ...]:
    one = Path("composed", lambda layer, call: None, lambda layer, call: composed(OPS, spec, layer, call, scan))
    own = Path("kernel", lambda k, call: kernel.refusal(spec, call), lambda k, call: kernel.run(spec, k, call))
    native = Path("native", lambda k, call: cudnn.refusal(spec, call), lambda k, call: cudnn.run(spec, k, call))
    at_once = parallel.paths(OPS, spec)
    # XLA's sequential loop on a CPU has less memory to go through (measured: 0.5 to 1.1 of the parallel scan's time).
    # cuDNN's is there by name alone, behind what serves everything: it has yet to run on a GPU.
    return (own, one, *at_once, native) if jax.default_backend() == "cpu" else (own, *at_once, one, native)
