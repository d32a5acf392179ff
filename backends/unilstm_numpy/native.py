"""NumPy has no LSTM of its own: the project's kernel, or the composed equations."""

from __future__ import annotations

from unilstm.paths import Path
from unilstm.run import DirectionResult, LayerCall, composed
from unilstm.spec import LSTMSpec
from unilstm_kernels import job

from . import kernel
from .ops import OPS


def paths(spec: LSTMSpec, dtype: str) -> tuple[Path, ...]:
    def run(layer: int, call: LayerCall) -> list[DirectionResult]:
        return kernel.run(spec, layer, call)

    return (
        Path("kernel", lambda k, call: job.refusal(spec, dtype), run, lambda call: run(0, call)),
        Path("composed", lambda k, call: None, lambda k, call: composed(OPS, spec, k, call)),
    )
