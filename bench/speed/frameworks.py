"""Each framework beside its own LSTM: torch, Paddle on one thread and on two, JAX with flax, and NumPy."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

import unilstm
from unilstm import LSTMSpec

from .measuring import Run
from .subject import Framework, Model, Shape, carried, numbers, standard, streamed


class Torch(Framework):
    peer, backend = "torch.nn.LSTM", "torch"

    def x(self, shape: Shape) -> Any:
        import torch

        return torch.tensor(numbers(shape), requires_grad=True)

    def of_layer(self, layer: Any) -> Model:
        def forward(x: Any, lengths: Any) -> Run:
            layer.eval()
            return lambda: without_gradients(layer, x, lengths=_torch_lengths(lengths))

        def training(x: Any, lengths: Any) -> Run:
            layer.train()
            return lambda: layer(x, lengths=_torch_lengths(lengths))[0].sum().backward()

        return Model(forward, training, str(layer.explain()))

    def own(self, shape: Shape, layers: int = 1, both: bool = False) -> Model:
        import torch

        layer = torch.nn.LSTM(shape[2], shape[3], layers, batch_first=True, bidirectional=both)
        return Model(
            lambda x, lengths: lambda: without_gradients(layer, x), lambda x, _: lambda: layer(x)[0].sum().backward()
        )

    def packed(self, shape: Shape) -> Model:
        import torch
        from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

        layer = torch.nn.LSTM(shape[2], shape[3], batch_first=True)

        def call(x: Any, lengths: Any) -> Any:
            packed = pack_padded_sequence(x, _torch_lengths(lengths), batch_first=True, enforce_sorted=False)
            return pad_packed_sequence(layer(packed)[0], batch_first=True)

        return Model(
            lambda x, lengths: lambda: torch.no_grad()(call)(x, lengths),
            lambda x, lengths: lambda: call(x, lengths)[0].sum().backward(),
        )

    def loop(self, spec: LSTMSpec) -> Model:
        return self._composed(spec, None)

    def cell(self, spec: LSTMSpec) -> Model:
        return self._composed(spec, step_by_step)

    def _composed(self, spec: LSTMSpec, scan: Any) -> Model:
        from unilstm.paths import Path
        from unilstm.run import composed
        from unilstm_torch.ops import TorchOps

        layer = unilstm.LSTM(spec, backend="torch", path="composed", seed=0)
        ops = TorchOps()
        plain = Path("composed", lambda k, call: None, lambda k, call: composed(ops, spec, k, call, scan))
        layer._paths = lambda dtype: (plain,)
        return self.of_layer(layer)

    def variant(self, spec: LSTMSpec) -> Model | None:
        """array-lstm's layers have lanes; it returns y and the state."""
        if spec.lanes == 1:
            return None
        from arrayLSTM import ArrayLSTM
        from arrayLSTM.extensions import AttentionArrayLSTM, StochasticArrayLSTM

        pooled = {"sum": ArrayLSTM, "argmax": StochasticArrayLSTM, "attention": AttentionArrayLSTM}
        layer = pooled[spec.lane_pooling](spec.input_size, spec.hidden_size, spec.lanes)
        return Model(
            lambda x, _: lambda: without_gradients(layer, x), lambda x, _: lambda: layer(x)[0].sum().backward()
        )

    def product(self, n: int) -> Run:
        import torch

        a = torch.rand(n, n)
        return lambda: a @ a

    def stream(self, shape: Shape) -> dict[str, Run]:
        import torch

        b, _, i, h = shape
        x, state = torch.rand(b, i), (torch.rand(1, b, h), torch.rand(1, b, h))
        own, cell = torch.nn.LSTM(i, h, batch_first=True), torch.nn.LSTMCell(i, h)
        ours, still = unilstm.LSTM(i, h, backend="torch", seed=0), torch.no_grad()
        return {
            "own": still(carried(lambda state: own(x[:, None], state)[1], state)),
            "cell": still(carried(lambda state: cell(x, state), tuple(part[0] for part in state))),
            "ours": still(carried(lambda state: ours.step(x, state)[1], state)),
            "stream": streamed(ours, x, state),
        }


def step_by_step(ops: Any, spec: LSTMSpec, call: Any, reverse: bool, state: Any, p: Any, masks: Any) -> Any:
    """unilstm.run.scan_direction as a cell in a loop has it: each step makes its own product with x."""
    from unilstm.cells import get
    from unilstm.run import DirectionResult, masks_of_steps, one_step

    p = dict(p)
    if "bias_ih" in p:
        p["bias"] = p.pop("bias_ih") + p.pop("bias_hh")
    body = one_step(ops, spec, p, masks, call.cells)

    def step(carry: Any, given: Any) -> Any:
        *of_step, x = given
        return body(carry, (*of_step, *get(spec.cell).given(ops, spec, p, x)))

    (h, c), outs = ops.scan(step, state, (*masks_of_steps(ops, spec, call, masks), call.input(ops, masks)), reverse)
    return DirectionResult(outs[0], h, c, outs[1] if call.cells else None)


def _torch_lengths(lengths: Any) -> Any:
    import torch

    return None if lengths is None else torch.as_tensor(lengths)


def without_gradients(layer: Any, x: Any, **call: Any) -> Any:
    import torch

    with torch.no_grad():
        return layer(x, **call)


class Paddle(Framework):
    peer, backend = "paddle.nn.LSTM", "paddle"

    def x(self, shape: Shape) -> Any:
        import paddle

        return paddle.to_tensor(numbers(shape), stop_gradient=False)

    def of_layer(self, layer: Any) -> Model:
        return self.model(layer, lambda x, lengths: layer(x, lengths=lengths), str(layer.explain()))

    def model(self, layer: Any, call: Callable[[Any, Any], Any], path: str = "") -> Model:
        import paddle

        still = paddle.no_grad()(call)

        def forward(x: Any, lengths: Any) -> Run:
            layer.eval()
            return lambda: still(x, self._lengths(lengths))

        def training(x: Any, lengths: Any) -> Run:
            layer.train()
            return lambda: call(x, self._lengths(lengths))[0].sum().backward()

        return Model(forward, training, path)

    def _lengths(self, lengths: Any) -> Any:
        import paddle

        return None if lengths is None else paddle.to_tensor(lengths)

    def own(self, shape: Shape, layers: int = 1, both: bool = False) -> Model:
        import paddle

        layer = paddle.nn.LSTM(shape[2], shape[3], layers, direction="bidirect" if both else "forward")
        return self.model(layer, lambda x, _: layer(x))

    def packed(self, shape: Shape) -> Model:
        import paddle

        layer = paddle.nn.LSTM(shape[2], shape[3])
        return self.model(layer, lambda x, lengths: layer(x, sequence_length=lengths))

    def product(self, n: int) -> Run:
        import paddle

        a = paddle.rand([n, n])
        return lambda: a @ a

    def stream(self, shape: Shape) -> dict[str, Run]:
        import paddle

        b, _, i, h = shape
        x, state = paddle.rand([b, i]), (paddle.rand([1, b, h]), paddle.rand([1, b, h]))
        own, cell = paddle.nn.LSTM(i, h), paddle.nn.LSTMCell(i, h)
        ours, still = unilstm.LSTM(i, h, backend="paddle", seed=0), paddle.no_grad()
        return {
            "own": still(carried(lambda state: own(x[:, None], state)[1], state)),
            "cell": still(carried(lambda state: cell(x, state)[1], tuple(part[0] for part in state))),
            "ours": still(carried(lambda state: ours.step(x, state)[1], state)),
            "stream": streamed(ours, x, state),
        }


class PaddleTwo(Paddle):
    """Paddle with two threads: one is what it comes with."""

    peer = "paddle.nn.LSTM on two threads"

    def __init__(self) -> None:
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "2"


class Jax(Framework):
    peer, backend = "flax's RNN, jitted", "jax"

    def x(self, shape: Shape) -> Any:
        import jax.numpy as jnp

        return jnp.asarray(numbers(shape))

    def of_layer(self, layer: Any) -> Model:
        return self.model(lambda p, x, lengths: p(x, lengths=lengths)[0], layer, str(layer.explain()))

    def model(self, call: Callable[..., Any], p: Any, path: str = "") -> Model:
        import jax

        def run(function: Callable[..., Any], x: Any, lengths: Any) -> Run:
            lengths = None if lengths is None else jax.numpy.asarray(lengths)
            return lambda: jax.block_until_ready(function(p, x, lengths))

        forward = jax.jit(call)
        step = jax.jit(jax.grad(lambda p, x, lengths: call(p, x, lengths).sum(), argnums=(0, 1)))
        return Model(lambda x, n: run(forward, x, n), lambda x, n: run(step, x, n), path)

    def own(self, shape: Shape, layers: int = 1, both: bool = False) -> Model:
        import jax
        from flax import linen

        def one() -> Any:
            ahead, back = (linen.RNN(linen.OptimizedLSTMCell(shape[3])) for _ in range(2))
            return linen.Bidirectional(ahead, back) if both else ahead

        stack = linen.Sequential([one() for _ in range(layers)])
        return self.model(lambda p, x, _: stack.apply(p, x), stack.init(jax.random.key(0), self.x(shape)))

    def packed(self, shape: Shape) -> Model:
        import jax
        from flax import linen

        rnn = linen.RNN(linen.OptimizedLSTMCell(shape[3]))
        call: Callable[..., Any] = lambda p, x, n: rnn.apply(p, x, seq_lengths=n)  # noqa: E731
        return self.model(call, rnn.init(jax.random.key(0), self.x(shape)))

    def product(self, n: int) -> Run:
        import jax

        a = jax.numpy.ones((n, n))
        multiply = jax.jit(lambda a: a @ a)
        return lambda: jax.block_until_ready(multiply(a))

    def stream(self, shape: Shape) -> dict[str, Run]:
        import jax
        from flax import linen

        b, _, i, h = shape
        x, state = jax.numpy.ones((b, i)), tuple(jax.numpy.ones((1, b, h)) for _ in "hc")
        cell, ours = linen.OptimizedLSTMCell(h), unilstm.LSTM(i, h, backend="jax", seed=0)
        carry = cell.initialize_carry(jax.random.key(0), x.shape)
        p = cell.init(jax.random.key(0), carry, x)
        own, step = jax.jit(cell.apply), jax.jit(lambda layer, x, state: layer.step(x, state))
        stream = streamed(ours, x, state)
        return {
            "cell": carried(lambda state: jax.block_until_ready(own(p, state, x))[0], carry),
            "ours": carried(lambda state: jax.block_until_ready(step(ours, x, state))[1], state),
            "stream": lambda: jax.block_until_ready(stream()),
        }


class NumPy(Framework):
    peer, backend = "the composed path", "numpy"

    def of_layer(self, layer: Any) -> Model:
        def training(x: Any, lengths: Any) -> Run:
            return lambda: _pull(layer.vjp(x, lengths=lengths))

        kernel = all(decision.path == "kernel" for decision in layer.explain())
        forward = lambda x, lengths: lambda: layer(x, lengths=lengths)  # noqa: E731
        return Model(forward, training if kernel else None, str(layer.explain()))

    def own(self, shape: Shape, layers: int = 1, both: bool = False) -> Model:
        return self.ours(standard(shape, layers, both), "composed")

    def product(self, n: int) -> Run:
        a = np.ones((n, n), "float32")
        return lambda: a @ a

    def stream(self, shape: Shape) -> dict[str, Run]:
        b, _, i, h = shape
        x, state = np.ones((b, i), "float32"), tuple(np.ones((1, b, h), "float32") for _ in "hc")
        own, ours = (unilstm.LSTM(i, h, path=path, seed=0) for path in ("composed", "auto"))
        return {
            "own": carried(lambda state: own.step(x, state)[1], state),
            "ours": carried(lambda state: ours.step(x, state)[1], state),
            "stream": streamed(ours, x, state),
        }


def _pull(called: Any) -> Any:
    (y, _), pull = called
    return pull(np.ones_like(y))
