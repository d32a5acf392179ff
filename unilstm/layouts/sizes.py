"""What arrays say of their spec: sizes, layers, directions, which optional parts there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache

from ..errors import LayoutError
from .naming import Match, written
from .tables import Claims, Form, Part, Tensor

Shapes = Mapping[str, tuple[int, ...]]
# symbol → how often it is contained: H hidden, S state (P or H), I input, N hidden of all lanes, K blocks, U units of
# one, 1 one.
Axis = dict[str, int]

_AXES: dict[str, tuple[str, ...]] = {
    "weight_ih": ("gates", "I"),
    "weight_hh": ("gates", "S"),
    "bias_ih": ("gates",),
    "bias_hh": ("gates",),
    "bias": ("gates",),
    "gamma_ih": ("gates",),
    "gamma_hh": ("gates",),
    "gamma": ("gates",),
    "gamma_c": ("N",),
    "beta_c": ("N",),
    "weight_ch": ("peepholes",),
    "weight_xa": ("N", "I"),
    "bias_xa": ("N",),
    "weight_hr": ("S", "H"),
    "weight_xh": ("H", "I"),
    "bias_xh": ("H",),
    "h_0": ("S",),
    "c_0": ("H",),
}

# Role → is it made of row groups, one a gate?
ROLES = {role: axes[0] in ("gates", "peepholes") for role, axes in _AXES.items()}


def see(matched: Match, shapes: Shapes) -> Claims:
    """What the arrays say of the spec's fields. Raises LayoutError where their shapes fit none."""
    form = matched.form
    tensors = {form.tensors[index] for index, _, _ in matched.at}
    present = {role for tensor in tensors if not (tensor.added or tensor.derived) for role in tensor.roles}
    if lacking := set(form.needs) - present:
        names = [written(form, t, matched.num_layers, 1, 0, 0) for t in form.tensors if lacking & set(t.roles)]
        raise LayoutError(f"{names[0]!r} is missing, which {form.name} always has. Give all tensors of the LSTM.")
    bias, peephole = _bias(matched, present), "weight_ch" in present
    if form.flat:
        return told(form, bias, peephole)
    count = _directions(matched, shapes)
    size = solve(matched, shapes)
    return {
        "num_layers": (matched.num_layers,),
        "direction": form.directions(matched.num_layers, count == 2),
        "input_size": (size["I"],),
        "hidden_size": (size["H"],),
        "proj_size": (size["S"] if "weight_hr" in present else 0,),
        "num_blocks": (size["K"] if form.blocks else 0,),
        **told(form, bias, peephole, matched.num_layers, _lanes(matched, size)),
    }


def told(form: Form, bias: str, peephole: bool, num_layers: int = 1, lanes: int = 1) -> Claims:
    """What a form says by itself, with these biases, peepholes, layers and lanes."""
    poolings = form.says.get("lane_pooling", ("sum",))
    return {
        "form": (form.name,),
        "bias": (bias,),
        "peephole": (peephole,),
        "highway": (form.holds("weight_xh"),),
        "layer_norm": ("none",),
        "learned_state": (False, True) if form.holds("h_0") else (False,),
        "residual": (form.residual and num_layers > 1,),
        **form.says,
        "lanes": (lanes,),
        "lane_pooling": ("sum",) if lanes == 1 and "sum" in poolings else poolings,
    }


def _bias(matched: Match, present: set[str]) -> str:
    """Which biases there are."""
    found = present & {"bias_ih", "bias_hh", "bias"}
    if not found:
        return "none"
    return "single" if found <= {"bias", matched.form.single_bias} else "double"


def _directions(matched: Match, shapes: Shapes) -> int:
    """From the names, or from the length of the axis over which directions are stacked."""
    for (index, _, _), name in matched.at.items():
        tensor, shape = matched.form.tensors[index], shapes[name]
        if tensor.span == "layer":
            wanted = 1 + len(axes(matched.form, tensor))
            if len(shape) != wanted or shape[0] not in (1, 2):
                raise LayoutError(
                    f"{name!r} has shape {list(shape)}, but must have {wanted} axes, the first of 1 or 2 directions. "
                    "Give it as the system stores it."
                )
            matched.num_directions = max(matched.num_directions, shape[0])
    return matched.num_directions


def solve(matched: Match, shapes: Shapes) -> dict[str, int]:
    """H, I and S from the shapes of layer 0, forward: one equation an axis, each solved once it has one unknown."""
    projected = any("weight_hr" in matched.form.tensors[index].roles for index, _, _ in matched.at)
    open_ = [
        (name, n, dict(axis), size)
        for (index, layer, direction), name in matched.at.items()
        if (layer, direction) == (0, 0)
        for n, (axis, size) in enumerate(
            _equations(matched.form, matched.form.tensors[index], name, shapes[name], projected)
        )
    ]
    known: dict[str, int] = {"1": 1}
    while True:
        equation = next((e for e in open_ if len(set(e[2]) - set(known)) == 1), None)
        if equation is None:
            break
        name, n, axis, size = equation
        (unknown,) = set(axis) - set(known)
        left = size - sum(times * known[symbol] for symbol, times in axis.items() if symbol in known)
        if left <= 0 or left % axis[unknown]:
            raise LayoutError(
                f"{name!r} has shape {list(shapes[name])}: {size} on axis {n} is not "
                f"{_said(axis, known)}. Give the arrays of an LSTM, which has 4 gates (a GRU has 3)."
            )
        known[unknown] = left // axis[unknown]
    if missing := {"H", "I", *("N" * matched.form.lanes), *("K" * matched.form.blocks)} - set(known):
        _raise_missing(matched, missing)
    return {"S": known["H"], "N": known["H"]} | known


def _lanes(matched: Match, size: Mapping[str, int]) -> int:
    lanes, rest = divmod(size["N"], size["H"])
    if rest:
        raise LayoutError(
            f"{matched.at[min(matched.at)]!r} has {size['N']} rows a gate, which is not lanes x hidden_size with "
            f"hidden_size {size['H']}. Give the arrays of an LSTM, which has 4 gates (a GRU has 3)."
        )
    return lanes


def recurrent(matched: Match, shapes: Shapes) -> bool:
    """Are the first layer's weights there, of an LSTM's shapes? Raises LayoutError if they have nobody's."""
    size = solve(matched, shapes)
    _lanes(matched, size)
    return all(
        (name := matched.at.get((n, 0, 0))) is not None
        and shape(matched.form, n, size) == shapes[name][matched.form.tensors[n].span == "layer" :]
        for n in weights(matched.form)
    )


@cache
def weights(form: Form) -> frozenset[int]:
    """Which of its tensors hold the weights without which there is no LSTM."""
    return frozenset(
        n
        for n, tensor in enumerate(form.tensors)
        if {"weight_ih", "weight_hh"} & set(tensor.roles) and not tensor.derived
    )


def _equations(
    form: Form, tensor: Tensor, name: str, shape: tuple[int, ...], projected: bool
) -> list[tuple[Axis, int]]:
    stacked = tensor.span == "layer"
    found = axes(form, tensor)
    if len(shape) != len(found) + stacked:
        raise LayoutError(
            f"{name!r} has shape {list(shape)}, but must have {len(found) + stacked} axes. "
            "Give it as the system stores it."
        )
    if not projected:
        found = [_counted("H" if s == "S" else s for s, times in axis.items() for _ in range(times)) for axis in found]
    return list(zip(found, shape[stacked:], strict=True))


def shape(form: Form, index: int, size: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of one direction of a tensor of the first layer."""
    return tuple(
        sum(times * size[symbol] for symbol, times in axis.items()) for axis in axes(form, form.tensors[index])
    )


def axes(form: Form, tensor: Tensor) -> list[Axis]:
    """The axes of a tensor in symbols; parts add up along the tensor's own axis, or are counted by a new first one."""
    if tensor.shape:
        return [{symbol: 1} for symbol in tensor.shape]
    parts = [_part_axes(form, part) for part in tensor.parts]
    joined = parts[0]
    if tensor.stacked:
        return [{"1": len(parts)}, *map(_counted, joined)]
    for other in parts[1:]:
        joined[tensor.axis] = joined[tensor.axis] + other[tensor.axis]
    return [_counted(axis) for axis in joined]


def _part_axes(form: Form, part: Part) -> list[list[str]]:
    """The axes of a part, each a list of symbols that add up."""
    swapped = part.transposed or part.reshaped
    own = [_symbols(form, part, axis) for axis in _AXES[part.role]]
    return own[::-1] if swapped else own


def _symbols(form: Form, part: Part, axis: str) -> list[str]:
    found = [axis]
    if axis == "peepholes":
        found = ["N"] * len(part.gates)
    elif axis == "gates":
        found = ["H" if gate == "r" else "K" if form.blocks and gate in "ifo" else "N" for gate in part.gates]
    return found if form.lanes else ["H" if symbol == "N" else symbol for symbol in found]


def _counted(symbols: Iterable[str]) -> Axis:
    return dict(Counter(symbols))


def _said(axis: Axis, known: Mapping[str, int]) -> str:
    word = {"H": "hidden_size", "S": "the state's size", "I": "input_size", "N": "lanes x hidden_size"}
    word |= {"K": "num_blocks", "U": "the units of a block", "1": "1"}
    terms = [(f"{times} x " if times > 1 else "") + word[s] for s, times in axis.items()]
    values = "".join(f" with {word[s]} {known[s]}" for s in axis if s in known)
    return " + ".join(terms) + values


def _raise_missing(matched: Match, symbols: set[str]) -> None:
    """The sizes cannot be told: name the weight that would tell them."""
    role = "weight_ih" if "I" in symbols else "weight_hh"
    form = matched.form
    for index, tensor in enumerate(form.tensors):
        if role in tensor.roles and (index, 0, 0) not in matched.at:
            name = written(form, tensor, matched.num_layers, matched.num_directions, 0, 0)
            raise LayoutError(f"{name!r} is missing. Give all tensors of the LSTM.")
    raise LayoutError(f"the shapes leave {sorted(symbols)} open. Give all tensors of the LSTM.")
