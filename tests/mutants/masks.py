"""Faults in what masks multiply, when they are drawn, and in zoneout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from unilstm import layer_masks
from unilstm.masks import Drawn
from unilstm.weights import Weights
from unilstm_numpy.ops import OPS

from .faulty import FaultyLayer, mutant

Array = np.ndarray


class Masked(FaultyLayer):
    """A layer that draws its masks itself, by the key, and gives them to the sound one: here they can be changed."""

    def __call__(self, x: Any, state: Any = None, *, key: Any = None, **named: Any) -> Any:
        if key is None or x.ndim != 3:
            return self.inner(x, state, **({} if key is None else {"key": key}), **named)
        masks = {name: self.change(name, mask) for name, mask in self.drawn(key, x).items()}
        return self.inner(x, state, masks=masks, **named)

    def drawn(self, key: int, x: Array) -> dict[str, Array]:
        spec, source = self.spec, Drawn(OPS, OPS.key(key, x))
        rows, steps = x.shape[:2] if spec.batch_first else x.shape[1::-1]
        layers = range(spec.num_layers)
        places = [(k, d) for k in layers for d in range(spec.num_directions)]
        found = [mask for k, d in places for mask in layer_masks.of_direction(spec, k, d, steps, rows)]
        masks = {m.name: source.get(self.stream_of(m.name), m.shape, m.dropped, x, m.scaled) for m in found}
        for k in layers[1:] if spec.dropout else ():
            shape = steps, rows, spec.layer_input_size(k)
            masks[f"dropout_l{k}"] = source.get(f"dropout_l{k}", shape, spec.dropout, x)
        return masks

    def stream_of(self, name: str) -> str:
        """The name of the mask whose random bits this one has."""
        return name

    def change(self, name: str, mask: Array) -> Array:
        return mask


class Stepwise(Masked):
    """A layer of one direction whose training is run step by step here, each step by `one`, from the last state."""

    def __call__(self, x: Any, state: Any = None, *, key: Any = None, **named: Any) -> Any:
        alone = self.spec.num_layers == 1 and self.spec.direction == "forward" and self.can_step()
        if key is None or x.ndim != 3 or state is None or named or not alone:
            return super().__call__(x, state, key=key, **named)
        masks = {name.partition("_l")[0]: mask for name, mask in self.drawn(key, x).items()}
        h, c = (s[0] for s in state)
        xs, ys = np.swapaxes(x, 0, 1) if self.spec.batch_first else x, []
        for t, x_t in enumerate(xs):
            h, c = self.one(t, x_t, h, c, masks)
            ys.append(h)
        y = np.stack(ys, 1 if self.spec.batch_first else 0)
        return y, (h[None], c[None])

    def can_step(self) -> bool:
        """Can `one` make these masks? That on g is inside a step."""
        return self.spec.recurrent_dropout_kind == "state"

    def plain(self, weights: Weights | None = None) -> Callable[[Array, Array, Array], tuple[Array, Array]]:
        """One sound step without any mask, with other weights if given."""
        fields = "input_dropout", "recurrent_dropout", "weight_dropout", "zoneout_hidden", "zoneout_cell"
        spec = self.spec.replace(**dict.fromkeys(fields, 0.0), recurrent_dropout_kind="state")
        layer = self.backend.layer(Weights(spec, dict(weights or self.given)), device=self.device, path=self.path)

        def step(x: Array, h: Array, c: Array) -> tuple[Array, Array]:
            _, (new_h, new_c) = layer.step(x, (h[None], c[None]))
            return new_h[0], new_c[0]

        return step

    def one(self, t: int, x: Array, h: Array, c: Array, masks: dict[str, Array]) -> tuple[Array, Array]:
        """Step t: its h and c. Sound for the masks that the mutants below have."""
        weights = dict(self.given)
        if "weight" in masks:
            weights["weight_hh_l0"] = weights["weight_hh_l0"] * masks["weight"]
        x = x * masks["input"] if "input" in masks else x
        read = h * masks["recurrent"] if "recurrent" in masks else h
        new_h, new_c = self.plain(Weights(self.given.spec, weights))(x, read, c)
        if "zoneout_hidden" in masks:
            new_h = h + masks["zoneout_hidden"][t] * (new_h - h)
        if "zoneout_cell" in masks:
            taken = masks["zoneout_cell"][t].reshape(len(x), -1, self.spec.hidden_size)
            new_c = c + (taken if c.ndim == 3 else taken[:, 0]) * (new_c - c)
        return new_h, new_c


@mutant("masks", "recurrent-dropout")
class RecurrentMaskNotScaled(Masked):
    """The h that is kept is not divided by the probability of keeping it."""

    def change(self, name: str, mask: Array) -> Array:
        return (mask > 0).astype(mask.dtype) if name.startswith("recurrent") else mask


@mutant("masks", "per-gate-dropout")
class PerGateMasksInAnotherOrder(Masked):
    """The masks of the gates are given to them from the last to the first."""

    def change(self, name: str, mask: Array) -> Array:
        return mask[::-1] if name.startswith("recurrent") else mask


@mutant("masks", "per-gate-dropout")
class OneMaskForAllGates(Masked):
    """Every gate reads h through the first one's mask."""

    def change(self, name: str, mask: Array) -> Array:
        return np.repeat(mask[:1], len(mask), axis=0) if name.startswith("recurrent") else mask


@mutant("masks", "candidate-dropout")
class CandidateMaskSharedByLanes(Masked):
    """All lanes have the mask of the first."""

    def change(self, name: str, mask: Array) -> Array:
        first = mask[..., : self.spec.hidden_size]
        return np.tile(first, self.spec.lanes) if name.startswith("recurrent") else mask


@mutant("masks", "candidate-dropout")
class CandidateMaskOnce(Masked):
    """The candidate's mask of the first step serves all steps."""

    def change(self, name: str, mask: Array) -> Array:
        return np.broadcast_to(mask[:1], mask.shape).copy() if name.startswith("recurrent") else mask


@mutant("masks", "input-dropout")
class InputMaskSharedByDirections(Masked):
    """Both directions of a layer have one input mask."""

    def __call__(self, x: Any, state: Any = None, *, key: Any = None, **named: Any) -> Any:
        if key is None:
            return self.inner(x, state, **named)
        masks = self.drawn(key, x)
        shared = {n: masks[n.removesuffix("_reverse")] if n.startswith("input") else mask for n, mask in masks.items()}
        return self.inner(x, state, masks=shared, **named)


@mutant("masks", "input-dropout")
class InputMaskFromAnotherStream(Masked):
    """The input's mask has the random bits of the recurrent one."""

    def stream_of(self, name: str) -> str:
        return name.replace("input", "recurrent")


@mutant("masks", "zoneout")
class ZoneoutKeepsWhatItShouldReplace(Masked):
    """Zoneout takes the new value where it should keep the old one."""

    def change(self, name: str, mask: Array) -> Array:
        return 1 - mask if name.startswith("zoneout") else mask


@mutant("masks", "zoneout")
class ZoneoutScaled(Masked):
    """What zoneout takes is scaled by 1 / (1 - p), as dropout's is."""

    def change(self, name: str, mask: Array) -> Array:
        field = name.partition("_l")[0]
        return mask / mask.dtype.type(1 - getattr(self.spec, field)) if name.startswith("zoneout") else mask


@mutant("masks", "zoneout-projected or zoneout-gate-recurrence")
class ZoneoutOncePerCall(Masked):
    """Zoneout draws once a call instead of at every step."""

    def change(self, name: str, mask: Array) -> Array:
        return np.broadcast_to(mask[:1], mask.shape).copy() if name.startswith("zoneout") else mask


@mutant("outputs", "zoneout")
class ZoneoutWithoutExpectation(FaultyLayer):
    """In evaluation zoneout takes every new value, as dropout would."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        if "key" in named:
            return self.inner(x, state, **named)
        spec = self.spec.replace(zoneout_hidden=0.0, zoneout_cell=0.0)
        layer = self.backend.layer(Weights(spec, dict(self.given)), device=self.device, path=self.path)
        return layer(x, state, **named)


@mutant("masks", "candidate-dropout")
class CandidateMaskOnCell(Stepwise):
    """The candidate's mask falls on the whole new c."""

    def can_step(self) -> bool:
        return True

    def one(self, t: int, x: Array, h: Array, c: Array, masks: dict[str, Array]) -> tuple[Array, Array]:
        new_h, new_c = self.plain()(x, h, c)
        return new_h, new_c * masks["recurrent"][t].reshape(new_c.shape)


@mutant("masks", "weight-dropout")
class WeightMaskEveryStep(Stepwise):
    """The weights' mask is drawn anew at every step."""

    def one(self, t: int, x: Array, h: Array, c: Array, masks: dict[str, Array]) -> tuple[Array, Array]:
        return super().one(t, x, h, c, {**masks, "weight": np.roll(masks["weight"], t, axis=0)})


@mutant("masks", "weight-dropout")
class WeightMaskOnInputWeights(Stepwise):
    """The weights' mask falls on weight_ih."""

    def one(self, t: int, x: Array, h: Array, c: Array, masks: dict[str, Array]) -> tuple[Array, Array]:
        weights = dict(self.given)
        weights["weight_ih_l0"] = weights["weight_ih_l0"] * masks["weight"][:, : x.shape[1]]
        return self.plain(Weights(self.given.spec, weights))(x, h, c)


@mutant("masks", "zoneout-projected")
class InputMaskEveryStep(Stepwise):
    """The input's mask is drawn anew at every step, as ordinary dropout's."""

    def one(self, t: int, x: Array, h: Array, c: Array, masks: dict[str, Array]) -> tuple[Array, Array]:
        return super().one(t, x, h, c, {**masks, "input": np.roll(masks["input"], t, axis=1)})


@mutant("masks", "zoneout-projected")
class ZoneoutKeepsTheMaskedState(Stepwise):
    """Where zoneout keeps the old h, it keeps it as the recurrent dropout left it."""

    def one(self, t: int, x: Array, h: Array, c: Array, masks: dict[str, Array]) -> tuple[Array, Array]:
        rest = {name: mask for name, mask in masks.items() if name != "recurrent"}
        return super().one(t, x, h * masks["recurrent"], c, rest)
