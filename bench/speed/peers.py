"""Peers that bring no arrays of their own: Keras on its backends, and onnxruntime. And the names of all there are."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

import unilstm
from unilstm import LSTMSpec

from .frameworks import Jax, NumPy, Paddle, PaddleTwo, Torch, without_gradients
from .measuring import Run
from .subject import Framework, Model, Shape, carried, standard, streamed


class Keras(Framework):
    """Keras on one of its backends, beside unilstm's layer of that backend."""

    def __init__(self, backend: str, inner: Framework) -> None:
        os.environ["KERAS_BACKEND"] = backend
        self.inner, self.backend, self.peer = inner, backend, f"keras.layers.LSTM on {backend}"

    def x(self, shape: Shape) -> Any:
        return self.inner.x(shape)

    def of_layer(self, layer: Any) -> Model:
        return self.inner.of_layer(layer)

    def own(self, shape: Shape, layers: int = 1, both: bool = False) -> Model:
        import keras

        stack: list[Any] = [keras.layers.LSTM(shape[3], return_sequences=True) for _ in range(layers)]
        stack = [keras.layers.Bidirectional(one) for one in stack] if both else stack
        for n, one in enumerate(stack):
            one.build((shape[0], shape[1], shape[2] if n == 0 else shape[3] * (2 if both else 1)))

        def call(x: Any) -> Any:
            for one in stack:
                x = one(x)
            return x

        if self.backend == "numpy":  # forward only: Keras differentiates nothing on NumPy
            return Model(lambda x, _: lambda: call(x), None)
        return self._on_torch(call) if self.backend == "torch" else self._on_jax(call, stack)

    def _on_torch(self, call: Callable[[Any], Any]) -> Model:
        return Model(lambda x, _: lambda: without_gradients(call, x), lambda x, _: lambda: call(x).sum().backward())

    def _on_jax(self, call: Callable[[Any], Any], stack: list[Any]) -> Model:
        from keras import StatelessScope

        variables = [v for one in stack for v in one.trainable_variables]

        def stateless(p: Any, x: Any, _: Any) -> Any:
            with StatelessScope(state_mapping=list(zip(variables, p, strict=True))):
                return call(x)

        assert isinstance(self.inner, Jax)
        return self.inner.model(stateless, [v.value for v in variables])


class Onnx(Framework):
    """onnxruntime runs forward only; beside it unilstm's layer of NumPy, which takes and gives the same arrays."""

    peer, backend = "onnxruntime", "numpy"

    def of_layer(self, layer: Any) -> Model:
        return Model(lambda x, lengths: lambda: layer(x, lengths=lengths), None, str(layer.explain()))

    def own(self, shape: Shape, layers: int = 1, both: bool = False) -> Model:
        session, names = self._session(standard(shape, layers, both))

        return Model(lambda x, _: lambda: session.run(None, {names[0]: x}), None)

    def _session(self, spec: LSTMSpec, inputs: tuple[str, ...] = ()) -> tuple[Any, list[str]]:
        import tempfile
        from pathlib import Path

        import onnxruntime

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lstm.onnx"
            unilstm.save(unilstm.LSTM(spec, seed=0), path, inputs=inputs)
            session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        return session, [one.name for one in session.get_inputs()]

    def stream(self, shape: Shape) -> dict[str, Run]:
        b, _, i, h = shape
        session, names = self._session(standard(shape), ("state",))
        x, state = np.ones((b, i), "float32"), tuple(np.ones((1, b, h), "float32") for _ in "hc")
        ours = unilstm.LSTM(i, h, seed=0)

        def own(state: Any) -> Any:
            return session.run(None, dict(zip(names, (x[:, None], *state), strict=True)))[1:]

        return {
            "own": carried(own, state),
            "ours": carried(lambda state: ours.step(x, state)[1], state),
            "stream": streamed(ours, x, state),
        }


FRAMEWORKS: dict[str, Callable[[], Framework]] = {
    "torch": Torch,
    "paddle": Paddle,
    "paddle-2": PaddleTwo,
    "jax": Jax,
    "numpy": NumPy,
    "keras-torch": lambda: Keras("torch", Torch()),
    "keras-jax": lambda: Keras("jax", Jax()),
    "keras-numpy": lambda: Keras("numpy", NumPy()),
    "onnxruntime": Onnx,
}
