"""AllenNLP's documented equations, as layout_equations.py.

Sources: AllenNLP 2.10.1 allennlp/modules/{lstm_cell_with_projection,elmo_lstm,augmented_lstm}.py and
stacked_bidirectional_lstm.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from layout_fixtures import Array, Arrays, H, Stack, Step, fixture, four, gated, sigmoid

BOTH = (False, True)

# AllenNLP's projected cell and ELMo's file.

CLIPS = {"memory_cell_clip_value": 0.6, "state_projection_clip_value": 0.4}


def projected(i: Array, f: Array, g: Array, o: Array, c: Array, project: Any) -> tuple[Array, Array]:
    c = np.clip(sigmoid(i) * np.tanh(g) + sigmoid(f) * c, -0.6, 0.6)
    return np.clip(project(sigmoid(o) * np.tanh(c)), -0.4, 0.4), c


def projection_cell(w: Arrays, p: str, size: int) -> Step:
    wi, wh = w.new(p + "input_linearity.weight", 4 * H, size), w.new(p + "state_linearity.weight", 4 * H, 3)
    b, wr = w.new(p + "state_linearity.bias", 4 * H), w.new(p + "state_projection.weight", 3, H)
    return lambda x, h, c: projected(*four(x @ wi.T + h @ wh.T + b), c, lambda m: m @ wr.T)


def elmo_cell(w: Arrays, p: str, size: int) -> Step:
    kernel, b, wp = w.new(p + "W_0", size + 3, 4 * H), w.new(p + "B", 4 * H), w.new(p + "W_P_0", H, 3)

    def step(x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        i, j, f, o = four(np.concatenate([x, h], -1) @ kernel + b)
        return projected(i, f + 1.0, j, o, c, lambda m: m @ wp)

    return step


for system, make, first, second, lone in (
    ("allennlp-projection", projection_cell, "forward_layer_{k}.", "backward_layer_{k}.", "{k}."),
    (
        "elmo",
        elmo_cell,
        "RNN_0/RNN/MultiRNNCell/Cell{k}/LSTMCell/",
        "RNN_1/RNN/MultiRNNCell/Cell{k}/LSTMCell/",
        "Cell{k}/LSTMCell/",
    ),
):
    for case, place, layers, extra, backward in (
        ("forward", first, 2, {}, False),
        ("backward", second, 2, {}, True),
        ("by-prefix", lone, 2, {"go_forward": False}, True),
        ("cell", "", 1, {"go_forward": False}, True),
    ):
        sizes = {"hidden_size": 3, "cell_size": H}
        stack_of = Stack(system, CLIPS | extra | sizes, layers, (backward,), output=3, residual=True)

        @fixture(case, stack_of)
        def _(w: Arrays, k: int, d: int, size: int, make: Any = make, place: str = place) -> Step:
            return make(w, place.format(k=k), size)


# AllenNLP's bidirectional stacks of AugmentedLstm.


def augmented_cell(w: Arrays, p: str, size: int, input_bias: bool, highway: bool) -> Step:
    wi = w.new(p + "input_linearity.weight", (6 if highway else 4) * H, size)
    bi = w.new(p + "input_linearity.bias", len(wi)) if input_bias else 0.0
    wh = w.new(p + "state_linearity.weight", (5 if highway else 4) * H, H)
    bh = w.new(p + "state_linearity.bias", len(wh))

    def step(x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        a, b = x @ wi.T + bi, h @ wh.T + bh
        i, f, g, o, *r = np.split(a[:, : len(wh)] + b, len(wh) // H, axis=-1)
        m, c = gated(i, f, g, o, c)
        return (sigmoid(r[0]) * m + (1 - sigmoid(r[0])) * a[:, 5 * H :] if r else m), c

    return step


for highway in (True, False):
    kind = "highway" if highway else "plain"
    for input_bias in (True, False):
        case = f"BiAugmentedLstm-{kind}{'' if input_bias else '-no-bias'}"

        @fixture(case, Stack("allennlp", {"bidirectional": True, "num_layers": 2, "bias": input_bias}, 2, BOTH))
        def _(w: Arrays, k: int, d: int, size: int, bias: bool = input_bias, highway: bool = highway) -> Step:
            return augmented_cell(w, f"{('forward', 'backward')[d]}_layers.{k}.cell.", size, bias, highway)

    for cell_word in ("cell.", ""):  # before AllenNLP 1.0 there was no "cell."

        @fixture(f"StackedBidirectionalLstm-{kind}-{cell_word}", Stack("allennlp", {"num_layers": 2}, 2, BOTH))
        def _(w: Arrays, k: int, d: int, size: int, word: str = cell_word, highway: bool = highway) -> Step:
            return augmented_cell(w, f"{('forward', 'backward')[d]}_layer_{k}.{word}", size, False, highway)
