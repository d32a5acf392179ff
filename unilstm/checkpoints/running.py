"""Other frameworks' own LSTMs, built from arrays as their files have them, and run once: for verifying alone.

Each takes (arrays by that system's names, its constructor arguments, the spec, x [B, T, I]) and returns y [B, T, O].
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..parameters import Array
from ..spec import LSTMSpec
from ..weights import Weights


class Unable(Exception):
    """The framework has no LSTM that takes these arrays, such as a bare cell's."""


def _torch(arrays: Mapping[str, Array], config: dict[str, Any], spec: LSTMSpec, x: Array) -> Array:
    import torch

    if "weight_ih_l0" not in arrays:
        raise Unable("it is a cell")
    lstm = torch.nn.LSTM(
        spec.input_size, spec.hidden_size, spec.num_layers, bias=spec.bias != "none", batch_first=True,
        bidirectional=spec.num_directions == 2, proj_size=spec.proj_size, dtype=getattr(torch, str(x.dtype)),
    )  # fmt: skip
    lstm.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    with torch.no_grad():
        return np.asarray(lstm.eval()(torch.tensor(x))[0].numpy())


def _paddle(arrays: Mapping[str, Array], config: dict[str, Any], spec: LSTMSpec, x: Array) -> Array:
    import paddle

    if spec.proj_size or spec.bias != "double":
        raise Unable("paddle.nn.LSTM computes a projection or a missing bias wrong")
    direction = "bidirectional" if spec.num_directions == 2 else "forward"
    before = paddle.get_default_dtype()
    paddle.set_default_dtype(str(x.dtype))
    try:
        lstm = paddle.nn.LSTM(spec.input_size, spec.hidden_size, spec.num_layers, direction=direction)
    finally:
        paddle.set_default_dtype(before)
    lstm.eval()
    missing, _ = lstm.set_state_dict({name: paddle.to_tensor(array) for name, array in arrays.items()})
    if any(".cell" in name for name in missing) and not any("_l0" in name for name in arrays):
        raise Unable(f"it lacks {missing[0]!r}")
    with paddle.no_grad():
        return np.asarray(lstm(paddle.to_tensor(x))[0].numpy())


def _keras(arrays: Mapping[str, Array], config: dict[str, Any], spec: LSTMSpec, x: Array) -> Array:
    import keras

    own = {key: config[key] for key in ("activation", "recurrent_activation", "use_bias") if key in config}
    if spec.num_layers > 1 or spec.gate_activation.alpha == 0.2:
        raise Unable("it is a stack, or has Keras 2's hard_sigmoid")
    inner = keras.layers.LSTM(
        spec.hidden_size, return_sequences=True, go_backwards=spec.direction == "reverse", dtype=str(x.dtype), **own
    )
    two = spec.num_directions == 2
    layer = keras.layers.Bidirectional(inner, merge_mode=config.get("merge_mode", "concat")) if two else inner
    layer.build(x.shape)
    order = {name: n for n, name in enumerate(("kernel", "recurrent_kernel", "bias"))}
    names = sorted(arrays, key=lambda name: ("backward" in name, order[name.replace("/", ".").split(".")[-1]]))
    layer.set_weights([arrays[name] for name in names])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Keras about how it makes arrays of tensors
        y = np.asarray(keras.ops.convert_to_numpy(layer(x)))
    return y[:, ::-1] if spec.direction == "reverse" else y


def _onnx(arrays: Mapping[str, Array], config: dict[str, Any], spec: LSTMSpec, x: Array) -> Array:
    """One LSTM node a layer, in onnxruntime, which has them in float32 only."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    if x.dtype != np.float32 or len({spec.reversed_directions(k) for k in range(spec.num_layers)}) > 1:
        raise Unable("its LSTM is float32, and of one direction in all layers")
    nodes, constants, source = [], [], "x"
    said = {key: value for key, value in config.items() if key not in ("layout", "input_size")}
    for k in range(spec.num_layers):
        at = f"layer_{k}/" if spec.num_layers > 1 else ""
        own = {name: arrays[at + name] for name in ("W", "R", "B", "P") if at + name in arrays}
        constants += [numpy_helper.from_array(np.ascontiguousarray(a), at + name) for name, a in own.items()]
        inputs = [
            source,
            at + "W",
            at + "R",
            at + "B" if "B" in own else "",
            "",
            "",
            "",
            at + "P" if "P" in own else "",
        ]
        nodes += [
            helper.make_node("LSTM", inputs, [f"y_{k}"], **{"hidden_size": spec.hidden_size, **said}),
            helper.make_node("Transpose", [f"y_{k}"], [f"t_{k}"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [f"t_{k}", "shape"], [f"x_{k + 1}"]),
        ]
        source = f"x_{k + 1}"
    constants.append(numpy_helper.from_array(np.array([0, 0, -1], "i8"), "shape"))
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["T", "B", None]) for name in ("x", source)]
    graph = helper.make_graph(nodes, "lstm", value[:1], value[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.swapaxes(session.run(None, {"x": np.swapaxes(x, 0, 1)})[0], 0, 1)


def _onnx_file(path: Path, x: Array, weights: Weights) -> Array:
    import onnxruntime

    spec = weights.spec
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = x if spec.batch_first else np.swapaxes(x, 0, 1)
    y = np.asarray(session.run(["y"], {"x": given.astype(weights.dtype)})[0])
    return y if spec.batch_first else np.swapaxes(y, 0, 1)


def _keras_file(path: Path, x: Array, weights: Weights) -> Array:
    import keras

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Keras about how it makes arrays of tensors
        model = keras.saving.load_model(path, compile=False)
        return np.asarray(keras.ops.convert_to_numpy(model(x)))


class Runner(NamedTuple):
    """What runs the arrays of a layout. package: what it needs. single: has it no float64, or float32's accuracy in
    it?"""

    run: Callable[[Mapping[str, Array], dict[str, Any], LSTMSpec, Array], Array]
    title: str
    package: str
    single: bool = False


class ModelRunner(NamedTuple):
    """What runs a whole file that unilstm wrote of weights, on x [B, T, I]."""

    run: Callable[[Path, Array, Weights], Array]
    package: str


RUNNERS = {
    "torch": Runner(_torch, "torch.nn.LSTM", "torch"),
    "paddle": Runner(_paddle, "paddle.nn.LSTM", "paddle"),
    "keras": Runner(_keras, "keras.layers.LSTM", "keras", single=True),
    "onnx": Runner(_onnx, "onnxruntime's LSTM", "onnxruntime", single=True),
}
MODELS = {".onnx": ModelRunner(_onnx_file, "onnxruntime"), ".keras": ModelRunner(_keras_file, "keras")}
