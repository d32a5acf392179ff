"""JAX has an LSTM of its own on NVIDIA GPUs alone. Else the kernel runs, or the equations, step by step or at once."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from pathlib import Path as File

import jax

from unilstm import parallel
from unilstm.paths import Path
from unilstm.run import DirectionResult, LayerCall, composed
from unilstm.spec import LSTMSpec

from . import cudnn, kernel
from .ops import OPS
from .scan import scan


def paths(spec: LSTMSpec, dtype: str) -> tuple[Path, ...]:
    one = Path("composed", lambda layer, call: None, lambda layer, call: composed(OPS, spec, layer, call, scan))

    def run(layer: int, call: LayerCall) -> list[DirectionResult]:
        return kernel.run(spec, layer, call)

    own = Path("kernel", lambda k, call: kernel.refusal(spec, dtype, call), run, lambda call: run(0, call))
    native = Path("native", lambda k, call: cudnn.refusal(spec, call), lambda k, call: cudnn.run(spec, k, call))
    at_once = tuple(map(_if_right, parallel.paths(OPS, spec)))
    # XLA's sequential loop on a CPU has less memory to go through (measured: 0.5 to 1.1 of the parallel scan's time).
    # cuDNN's is there by name alone, behind what serves everything: it has yet to run on a GPU.
    return (own, one, *at_once, native) if jax.default_backend() == "cpu" else (own, *at_once, one, native)


def _if_right(path: Path) -> Path:
    return replace(path, refusal=lambda layer, call: wrong_fusions() or path.refusal(layer, call))


@functools.cache
def wrong_fusions() -> str | None:
    """Why the parallel path's gradients are not to be trusted here, or None.

    On processors with AVX-512, XLA's fusions on the CPU (jax 0.10.2) get some of them wrong by their own size, always
    the same ones: conformance's gradients of minLSTM in float64. Without its new emitters, without fusion, without jit
    and with AVX2 they are right.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    others = "xla_cpu_use_fusion_emitters=false" in flags or (
        "xla_cpu_max_isa=" in flags and "xla_cpu_max_isa=AVX512" not in flags
    )
    if jax.default_backend() != "cpu" or others:
        return None
    try:
        avx512 = " avx512f " in File("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    if not avx512:
        return None
    return (
        "with AVX-512, XLA's fusions compute wrong gradients of it; XLA_FLAGS=--xla_cpu_use_fusion_emitters=false, set "
        "before JAX is imported, leaves them out"
    )
