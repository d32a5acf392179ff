"""JAX has no LSTM of its own on a CPU: the equations are run step by step, or all steps at once where they allow it."""

from __future__ import annotations

from unilstm import parallel
from unilstm.paths import Path
from unilstm.run import composed
from unilstm.spec import LSTMSpec

from .ops import OPS
from .scan import scan


def paths(spec: LSTMSpec) -> tuple[Path, ...]:
    return (
        *parallel.paths(OPS, spec),
        Path("composed", lambda layer, call: None, lambda layer, call: composed(OPS, spec, layer, call, scan)),
    )
