"""JAX has no LSTM of its own on a CPU: the composed equations are the only path."""

from __future__ import annotations

from unilstm.paths import Path
from unilstm.run import composed
from unilstm.spec import LSTMSpec

from .ops import OPS
from .scan import scan


def paths(spec: LSTMSpec) -> tuple[Path, ...]:
    return (Path("composed", lambda layer, call: None, lambda layer, call: composed(OPS, spec, layer, call, scan)),)
