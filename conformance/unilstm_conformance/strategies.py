"""Specs drawn at random: any that is valid, by construction, so that no draw is thrown away."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from unilstm.spec import LSTMSpec

from .variants import ACTIVATIONS

if TYPE_CHECKING:  # hypothesis is there where tests are; unilstm does not need it
    from hypothesis.strategies import DrawFn, SearchStrategy

GATES = ("input", "forget", "output")


def specs(*, max_size: int = 6, max_layers: int = 3, cell: str | None = None) -> SearchStrategy[LSTMSpec]:
    """A hypothesis strategy, for property tests: it tries small specs first, and makes those that fail smaller.

        @given(specs())
        def test_a_spec_survives_json(spec):
            assert LSTMSpec.from_json(spec.to_json()) == spec

    max_size: of input_size and hidden_size. cell: one of lstm, slstm, minlstm; any if not given.
    """
    from hypothesis import strategies as st

    @st.composite
    def drawn(draw: DrawFn) -> LSTMSpec:
        return _spec(_Pick(lambda options: draw(st.sampled_from(options))), max_size, max_layers, cell)

    return drawn()


def random_spec(seed: int, *, max_size: int = 6, max_layers: int = 3, cell: str | None = None) -> LSTMSpec:
    """One spec, the same for the same seed; large ones as often as small ones."""
    return _spec(_Pick(random.Random(seed).choice), max_size, max_layers, cell)


class _Pick:
    """Draws, in few words. choose: one of several."""

    def __init__(self, choose: Callable[[Sequence[Any]], Any]) -> None:
        self.choose = choose

    def __call__(self, *options: Any) -> Any:
        return self.choose(options)

    def flag(self) -> bool:
        return bool(self(False, True))

    def size(self, low: int, high: int) -> int:
        return int(self(*range(low, high + 1)))

    def divisor(self, number: int) -> int:
        return int(self(*(n for n in range(1, number + 1) if number % n == 0)))

    def share(self) -> float:
        """A probability to drop by; in half of all draws none."""
        return float(self(0.0, 0.0, 0.2, 0.5))

    def bound(self) -> float:
        """A clip; in half of all draws none."""
        return float(self(0.0, 0.0, 0.4, 1.0))


def _spec(pick: _Pick, max_size: int, max_layers: int, cell: str | None) -> LSTMSpec:
    name = cell or pick("lstm", "lstm", "lstm", "lstm", "slstm", "minlstm")
    fields: dict[str, Any] = {"cell": name, "input_size": pick.size(1, max_size), "hidden_size": pick.size(1, max_size)}
    fields |= _loop(pick, max_layers)
    fields |= {"lstm": _lstm, "slstm": _slstm, "minlstm": _minlstm}[name](pick, fields["hidden_size"])
    return LSTMSpec(**fields)


def _loop(pick: _Pick, max_layers: int) -> dict[str, Any]:
    """The fields that serve every cell."""
    layers = pick.size(1, max_layers)
    directions = ("forward", "reverse", "bidirectional", *(["alternating"] if layers > 1 else []))
    fields: dict[str, Any] = {"num_layers": layers, "direction": pick(*directions)}
    if fields["direction"] == "bidirectional":
        fields["merge"] = pick("concat", "sum", "mul", "average")
    if layers > 1:
        fields |= {"residual": pick.flag(), "dropout": pick.share()}
    fields |= {"batch_first": pick.flag(), "bias": pick("double", "single", "none"), "learned_state": pick.flag()}
    return fields | {name: pick.share() for name in ("input_dropout", "zoneout_hidden", "zoneout_cell")}


def _lstm(pick: _Pick, hidden: int) -> dict[str, Any]:
    gates = tuple(gate for gate in GATES if pick(True, True, True, False))
    fields: dict[str, Any] = {"gates": gates, "peephole": bool(gates) and pick.flag(), "highway": pick.flag()}
    fields["coupled_gates"] = {"input", "forget"} <= set(gates) and pick.flag()
    places = ("gate_activation", "cell_activation", "output_activation")
    fields |= {
        place: pick(usual, *ACTIVATIONS) for place, usual in zip(places, ("sigmoid", "tanh", "tanh"), strict=True)
    }
    fields |= {"gate_clip": pick.bound(), "cell_clip": pick.bound()}
    if hidden > 1 and pick.flag():
        fields |= {"proj_size": pick.size(1, hidden - 1), "proj_clip": pick.bound()}
    fields |= _structure(pick, hidden, gates, fields["coupled_gates"])
    if hidden > 1 and pick.flag():
        kinds = ("joint", "normalized-state", *(["per-gate"] if fields.get("num_blocks") != 1 else []))
        fields |= {"layer_norm": pick(*kinds), "layer_norm_eps": pick(1e-5, 1e-3, 0.1)}
    fields |= {"recurrent_dropout": pick.share(), "weight_dropout": pick.share()}
    if fields["recurrent_dropout"]:
        fields["recurrent_dropout_kind"] = pick("state", "per-gate", "candidate")
    return fields


def _structure(pick: _Pick, hidden: int, gates: tuple[str, ...], coupled: bool) -> dict[str, Any]:
    """Gates that remember; or blocks and lanes."""
    if gates and pick(True, False, False):
        return {"gate_recurrence": True}
    fields: dict[str, Any] = {}
    if gates and pick.flag():
        fields["num_blocks"] = pick.divisor(hidden)
    if pick.flag():
        poolings = ["sum", *(["argmax"] if "output" in gates else [])]
        poolings += ["attention", "attention-max"] if len(gates) == 3 and not coupled else []
        fields |= {"lanes": pick.size(2, 3), "lane_pooling": pick(*poolings)}
    return fields


def _slstm(pick: _Pick, hidden: int) -> dict[str, Any]:
    shares = {name: pick.share() for name in ("recurrent_dropout", "weight_dropout")}
    return {"num_heads": pick.divisor(hidden), "exponential_forget": pick.flag(), **shares}


def _minlstm(pick: _Pick, hidden: int) -> dict[str, Any]:
    return {"cell_activation": pick("tanh", *ACTIVATIONS)}
