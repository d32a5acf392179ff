"""The documented equations of systems without a golden vector, a few lines of NumPy each.

Sources: PyTorch benchmarks/fastrnns/custom_lstms.py; MXNet python/mxnet/gluon/rnn/rnn_layer.py; TensorFlow 1.15
python/ops/rnn_cell_impl.py and contrib/rnn/python/ops/{lstm_ops,rnn_cell}.py; TensorFlow Addons
tensorflow_addons/rnn/{peephole,layer_norm}_lstm_cell.py; salesforce/awd-lstm-lm weight_drop.py and fastai
text/models/awdlstm.py; mlx python/mlx/nn/layers/recurrent.py; Keras 2 keras/engine/saving.py (the conversion of
CuDNNLSTM). AllenNLP's are in allennlp_equations.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import allennlp_equations  # noqa: F401, it registers its own
from layout_fixtures import FIXTURES, Array, Arrays, B, H, Stack, Step, T, fixture, four, gated, normed, sigmoid

__all__ = ["FIXTURES"]

# PyTorch's custom_lstms.py.


def torch_cell(w: Arrays, p: str, size: int) -> Step:
    wi, wh = w.new(p + "weight_ih", 4 * H, size), w.new(p + "weight_hh", 4 * H, H)
    bi, bh = w.new(p + "bias_ih", 4 * H), w.new(p + "bias_hh", 4 * H)
    return lambda x, h, c: gated(*four(x @ wi.T + bi + h @ wh.T + bh), c)


def torch_norm_cell(w: Arrays, p: str, size: int) -> Step:
    wi, wh = w.new(p + "weight_ih", 4 * H, size), w.new(p + "weight_hh", 4 * H, H)
    norms = {
        n: (w.new(f"{p}layernorm_{n}.weight", rows), w.new(f"{p}layernorm_{n}.bias", rows))
        for n, rows in (("i", 4 * H), ("h", 4 * H), ("c", H))
    }

    def step(x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        i, f, g, o = four(normed(x @ wi.T, *norms["i"], 1e-5) + normed(h @ wh.T, *norms["h"], 1e-5))
        c = normed(sigmoid(f) * c + sigmoid(i) * np.tanh(g), *norms["c"], 1e-5)
        return sigmoid(o) * np.tanh(c), c

    return step


BOTH = (False, True)
for kind, make in (("lstm", torch_cell), ("lnlstm", torch_norm_cell)):

    @fixture(f"script_{kind}", Stack("custom-lstms", {"bidirectional": True}, 2, BOTH))
    def _(w: Arrays, k: int, d: int, size: int, make: Any = make) -> Step:
        return make(w, f"layers.{k}.directions.{d}.cell.", size)

    @fixture(f"script_{kind}-forward", Stack("custom-lstms", {"num_layers": 2}, 2))
    def _(w: Arrays, k: int, d: int, size: int, make: Any = make) -> Step:
        return make(w, f"layers.{k}.cell.", size)

    @fixture(f"BidirLSTMLayer-{kind}", Stack("custom-lstms", {}, 1, BOTH))
    def _(w: Arrays, k: int, d: int, size: int, make: Any = make) -> Step:
        return make(w, f"directions.{d}.cell.", size)


# MXNet.


def mxnet_cell(w: Arrays, p: str, size: int, state: int) -> Any:
    wi, wh = w.new(p + "i2h_weight", 4 * H, size), w.new(p + "h2h_weight", 4 * H, state)
    bi, bh = w.new(p + "i2h_bias", 4 * H), w.new(p + "h2h_bias", 4 * H)
    return lambda x, h, c: gated(*four(x @ wi.T + bi + h @ wh.T + bh), c)


@fixture("bidirectional", Stack("mxnet", {"bidirectional": True, "layout": "NTC"}, 2, BOTH))
def _(w: Arrays, k: int, d: int, size: int) -> Step:
    return mxnet_cell(w, f"{'lr'[d]}{k}_", size, H)


@fixture("projection", Stack("mxnet", {"projection_size": 3}, 1, output=3))
def _(w: Arrays, k: int, d: int, size: int) -> Step:
    cell, wr = mxnet_cell(w, "l0_", size, 3), w.new("l0_h2r_weight", 3, H)

    def step(x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        m, c = cell(x, h, c)
        return m @ wr.T, c

    return step


# TensorFlow 1.


def tf_gates(w: Arrays, p: str, size: int, state: int) -> Callable[[Array, Array], list[Array]]:
    kernel = w.new(p + "kernel", size + state, 4 * H)
    return lambda x, h: four(np.concatenate([x, h], -1) @ kernel)


@fixture("LSTMCell", Stack("tensorflow", {}, 2, BOTH))
def _(w: Arrays, k: int, d: int, size: int) -> Step:
    p = f"cell_{k}/bidirectional_rnn/{('fw', 'bw')[d]}/lstm_cell/"
    gates, bias = tf_gates(w, p, size, H), w.new(p + "bias", 4 * H)

    def step(x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        i, j, f, o = (z + b for z, b in zip(gates(x, h), four(bias), strict=True))
        return gated(i, f + 1.0, j, o, c)

    return step


@fixture(
    "LSTMCell-everything",
    Stack(
        "tensorflow",
        {"cell": "LSTMCell", "use_peepholes": True, "cell_clip": 0.6, "num_proj": 3, "proj_clip": 0.4}
        | {"forget_bias": 0.25, "activation": "tanh", "time_major": True},
        output=3,
    ),
)
def _(w: Arrays, k: int, d: int, size: int) -> Step:
    gates, bias = tf_gates(w, "lstm_cell/", size, 3), w.new("lstm_cell/bias", 4 * H)
    vf, vi, vo = (w.new(f"lstm_cell/w_{g}_diag", H) for g in "fio")
    projection = w.new("lstm_cell/projection/kernel", H, 3)

    def step(x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        i, j, f, o = (z + b for z, b in zip(gates(x, h), four(bias), strict=True))
        c = sigmoid(f + 0.25 + vf * c) * c + sigmoid(i + vi * c) * np.tanh(j)
        c = np.clip(c, -0.6, 0.6)
        m = sigmoid(o + vo * c) * np.tanh(c)
        return np.clip(m @ projection, -0.4, 0.4), c

    return step


def tf_norm_cell(w: Arrays, p: str, size: int) -> Step:
    gates = tf_gates(w, p, size, H)
    names = ("input", "transform", "forget", "output", "state")
    norms = {n: (w.new(f"{p}{n}/gamma", H), w.new(f"{p}{n}/beta", H)) for n in names}

    def step(x: Array, h: Array, c: Array, keep: Any = 1.0) -> tuple[Array, Array]:
        i, j, f, o = (normed(z, *norms[n], 1e-12) for z, n in zip(gates(x, h), names[:4], strict=True))
        c = sigmoid(f + 1.0) * c + sigmoid(i) * (np.tanh(j) * keep)
        c = normed(c, *norms["state"], 1e-12)
        return sigmoid(o) * np.tanh(c), c

    return step


@fixture("LayerNormBasicLSTMCell", Stack("tensorflow", {"dropout_keep_prob": 0.5}, mask=(T, B, H)))
def _(w: Arrays, k: int, d: int, size: int) -> Step:
    return tf_norm_cell(w, "layer_norm_basic_lstm_cell/", size)


@fixture("LayerNormBasicLSTMCell-both", Stack("tensorflow", {"cell": "LayerNormBasicLSTMCell"}, 1, BOTH))
def _(w: Arrays, k: int, d: int, size: int) -> Step:
    return tf_norm_cell(w, f"{('fw', 'bw')[d]}/layer_norm_basic_lstm_cell/", size)


# TensorFlow Addons, and Keras 2's CuDNNLSTM.

KERAS_WAYS = ("forward_rnn/lstm_cell/", "backward_rnn/lstm_cell/")


@fixture("both", Stack("addons-peephole", {"merge_mode": "concat"}, 1, BOTH))
def _(w: Arrays, k: int, d: int, size: int) -> Step:
    p = KERAS_WAYS[d]
    wx, wh, b = w.new(p + "kernel", size, 4 * H), w.new(p + "recurrent_kernel", H, 4 * H), w.new(p + "bias", 4 * H)
    vi, vf, vo = (w.new(f"{p}{g}_gate_peephole_weights", H) for g in ("input", "forget", "output"))

    def step(x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        i, f, g, o = four(x @ wx + h @ wh + b)
        c = sigmoid(f + vf * c) * c + sigmoid(i + vi * c) * np.tanh(g)
        return sigmoid(o + vo * c) * np.tanh(c), c

    return step


def addons_norm_cell(w: Arrays, p: str, size: int, eps: float) -> Step:
    wx, wh, b = w.new(p + "kernel", size, 4 * H), w.new(p + "recurrent_kernel", H, 4 * H), w.new(p + "bias", 4 * H)
    norms = {
        n: (w.new(f"{p}{n}_norm/gamma", rows), w.new(f"{p}{n}_norm/beta", rows))
        for n, rows in (("kernel", 4 * H), ("recurrent", 4 * H), ("state", H))
    }

    def step(x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        i, f, g, o = four(normed(x @ wx, *norms["kernel"], eps) + normed(h @ wh, *norms["recurrent"], eps) + b)
        c = normed(sigmoid(f) * c + sigmoid(i) * np.tanh(g), *norms["state"], eps)
        return sigmoid(o) * np.tanh(c), c

    return step


@fixture("both", Stack("addons-layer-norm", {"add_bias": True, "merge_mode": "concat"}, 1, BOTH))
def _(w: Arrays, k: int, d: int, size: int) -> Step:
    return addons_norm_cell(w, KERAS_WAYS[d], size, 1e-3)


@fixture("eps", Stack("addons-layer-norm", {"add_bias": True, "norm_epsilon": 0.1}))
def _(w: Arrays, k: int, d: int, size: int) -> Step:
    return addons_norm_cell(w, "layer_norm_lstm_cell/", size, 0.1)


@fixture("both", Stack("keras-cudnn", {"merge_mode": "concat"}, 1, BOTH))
def _(w: Arrays, k: int, d: int, size: int) -> Step:
    """What Keras's own conversion makes of it is an ordinary LSTM."""
    p = ("forward_cu_dnnlstm/", "backward_cu_dnnlstm/")[d]
    kernel, recurrent = w.new(p + "kernel", size, 4 * H), w.new(p + "recurrent_kernel", H, 4 * H)
    bias = w.new(p + "bias", 8 * H)
    wx = np.hstack([gate.T.reshape(gate.shape, order="F") for gate in np.hsplit(kernel, 4)])
    wh = np.hstack([gate.T for gate in np.hsplit(recurrent, 4)])
    b = bias[: 4 * H] + bias[4 * H :]
    return lambda x, h, c: gated(*four(x @ wx + h @ wh + b), c)


# AWD-LSTM and MLX.


def awd_cell(w: Arrays, p: str, module: str, size: int) -> Step:
    """What weight_hh_l0 was in the last call does not matter."""
    wi, wh = w.new(f"{p}{module}weight_ih_l0", 4 * H, size), w.new(f"{p}weight_hh_l0_raw", 4 * H, H)
    bi, bh = w.new(f"{p}{module}bias_ih_l0", 4 * H), w.new(f"{p}{module}bias_hh_l0", 4 * H)
    w.new(f"{p}{module}weight_hh_l0", 4 * H, H)
    return lambda x, h, c: gated(*four(x @ wi.T + bi + h @ wh.T + bh), c)


@fixture("WeightDrop", Stack("awd", {"wdrop": 0.5}, 2))
def _(w: Arrays, k: int, d: int, size: int) -> Step:
    return awd_cell(w, f"rnns.{k}.module.", "", size)


@fixture("fastai", Stack("awd", {"cell": "WeightDropout"}, 2))
def _(w: Arrays, k: int, d: int, size: int) -> Step:
    return awd_cell(w, f"rnns.{k}.", "module.", size)


@fixture("LSTM", Stack("mlx"))
def _(w: Arrays, k: int, d: int, size: int) -> Step:
    wx, wh, b = w.new("Wx", size, 4 * H), w.new("Wh", H, 4 * H), w.new("bias", 4 * H)
    return lambda x, h, c: gated(*four(x @ wx + b + h @ wh), c)
