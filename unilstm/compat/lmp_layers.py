"""The layers of compat.lmp: LSTM1997Layer, LSTM2000Layer, LSTM2002Layer, and what its models share with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..errors import InputError
from ..stored import Draws, Shape
from .dropin import DropIn, given_arguments, settled, spec_of
from .initial import linear

_GATE_BIAS = re.compile(r"(?:.*\.)?fc_x2(ig|og|fg)\.bias")


def default_values(draws: Draws, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """What a layer has before params_init(): torch.nn.Linear's values, and peepholes of 0."""
    found = {}
    for name, shape in shapes.items():
        fan_in = shapes.get(name.replace(".bias", ".weight"), shape)[-1]
        found[name] = np.zeros(shape) if "pc_c2" in name else linear(draws, shape, fan_in)
    return found


def lmp_values(arguments: Mapping[str, Any], draws: Draws, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """What params_init() draws: U(init_lower, init_upper), but for the gates' biases b_i ~ U(init_ib, 0),
    b_o ~ U(init_ob, 0), b_f ~ U(0, init_fb)."""
    found = {}
    for name, shape in shapes.items():
        low, high = arguments["init_lower"], arguments["init_upper"]
        if gate := _GATE_BIAS.fullmatch(name):
            bound = arguments[{"ig": "init_ib", "og": "init_ob", "fg": "init_fb"}[gate[1]]]
            low, high = (0.0, bound) if gate[1] == "fg" else (bound, 0.0)
        found[name] = draws.uniform(shape, low, high)
    return found


class LSTM1997Layer(DropIn):
    """lmp.model.LSTM1997Layer: blocks of units that share their input and output gates, without a forget gate.

    n_blk blocks of d_blk units each; in_feat features in. init_lower, init_upper, init_ib, init_ob: of params_init().
    backend: "torch" (a torch.nn.Module) or another; seed, dtype, device, path: as in unilstm.LSTM.
    What differs: see compat.lmp.
    """

    layout = "lmp"
    _form: ClassVar[str] = "LSTM1997"

    def __init__(
        self,
        *,
        d_blk: int = 1,
        in_feat: int = 1,
        init_ib: float = -1.0,
        init_lower: float = -0.1,
        init_ob: float = -1.0,
        init_upper: float = 0.1,
        n_blk: int = 1,
        backend: str = "torch",
        seed: int | None = None,
        dtype: Any = None,
        device: Any = None,
        path: str = "auto",
        **kwargs: Any,
    ) -> None:
        self._make(given_arguments(locals()))

    d_blk, n_blk, in_feat = settled("d_blk"), settled("n_blk"), settled("in_feat")
    init_lower, init_upper = settled("init_lower"), settled("init_upper")
    init_ib, init_ob = settled("init_ib"), settled("init_ob")

    def _make(self, given: dict[str, Any]) -> None:
        given.pop("kwargs")
        super().__init__()
        config = {name: given[name] for name in ("d_blk", "n_blk", "in_feat")}
        self._build(given, *spec_of("lmp", self._form, config))

    @property
    def d_hid(self) -> int:
        return self.spec.hidden_size

    def forward(self, x: Any, c_0: Any = None, h_0: Any = None) -> tuple[Any, Any]:
        """x [B, S, in_feat]; c_0 [B, n_blk, d_blk] and h_0 [B, d_hid], the buffers of that name if not given.

        Returns c and h of every step: c [B, S, n_blk, d_blk], h [B, S, d_hid].
        """
        if len(x.shape) != 3:
            raise InputError(f"x has shape {list(x.shape)}, but must be [B, S, in_feat]. Add or remove an axis.")
        ops, rows = self._ops(), x.shape[0]
        h = block_state(self, "h_0", h_0, rows, (self.d_hid,))
        c = block_state(self, "c_0", c_0, rows, (self.n_blk, self.d_blk))
        y, _, every_c = self._lstm(x, (ops.stack([h]), ops.stack([c])), return_cell_sequence=True)
        return ops.reshape(every_c, (*every_c.shape[:2], self.n_blk, self.d_blk)), y

    def params_init(self, seed: int | None = None) -> None:
        """Draw all parameters anew, as lmp_values says; from a seed, or from the framework's own generator."""
        self._reset(lambda draws, shapes: lmp_values(self._arguments, draws, shapes), seed)

    def _initial(self, draws: Draws, shapes: Mapping[str, Shape]) -> dict[str, Any]:
        return default_values(draws, shapes)


class LSTM2000Layer(LSTM1997Layer):
    """lmp.model.LSTM2000Layer: with a forget gate a block (Gers, Schmidhuber & Cummins 2000).

    init_fb: of params_init(). The other arguments: see LSTM1997Layer.
    """

    _form = "LSTM2000"

    def __init__(
        self,
        *,
        d_blk: int = 1,
        in_feat: int = 1,
        init_fb: float = 1.0,
        init_ib: float = -1.0,
        init_lower: float = -0.1,
        init_ob: float = -1.0,
        init_upper: float = 0.1,
        n_blk: int = 1,
        backend: str = "torch",
        seed: int | None = None,
        dtype: Any = None,
        device: Any = None,
        path: str = "auto",
        **kwargs: Any,
    ) -> None:
        self._make(given_arguments(locals()))

    init_fb = settled("init_fb")


class LSTM2002Layer(LSTM2000Layer):
    """lmp.model.LSTM2002Layer: with peepholes from the block's units (Gers, Schraudolph & Schmidhuber 2002).

    The arguments: see LSTM2000Layer.
    """

    _form = "LSTM2002"


def block_state(layer: DropIn, name: str, given: Any, rows: int, shape: Shape, buffer: str = "") -> Any:
    """A layer's initial state [B, features], from what a call was given ([B, *shape], or [1, *shape] for all rows) or
    from its buffer."""
    ops = layer._ops()
    value = layer._own(buffer or name) if given is None else given
    if tuple(value.shape) not in ((rows, *shape), (1, *shape)):
        raise InputError(
            f"{name} has shape {list(value.shape)}, but must have {[rows, *shape]}: batch, then its units."
        )
    flat = ops.reshape(value, (value.shape[0], int(np.prod(shape))))
    return flat if flat.shape[0] == rows else ops.expand(flat[0], rows)
