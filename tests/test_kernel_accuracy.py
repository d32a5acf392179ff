"""What the kernel's speed does not cost: it is as exact as torch's own LSTM, and keeps less for the way back."""

from __future__ import annotations

from typing import Any

import pytest

import unilstm
from conftest import require, require_kernel
from speed import accuracy

BOUND = 1.5
DRAWS = range(3)


# Sums over as many units as in real layers; few rows and steps, because the oracle goes through them one at a time.
@pytest.mark.parametrize("shape", [(2, 50, 64, 64), (2, 20, 128, 256), (2, 10, 512, 512)], ids=str)
def test_the_largest_error_is_at_most_one_and_a_half_times_torchs(shape: Any) -> None:
    """Over outputs, states and gradients, each in eps of its largest number, against the oracle in float64.

    Of a single draw, a largest error is luck: the ratio goes from 0.4 to 1.4. Hence the largest of several.
    """
    require_kernel()
    require("torch")
    largest = {"kernel": 0.0, "torch": 0.0}
    for seed in DRAWS:
        case = accuracy.Case.of(shape, seed)
        want = accuracy.exact(case)
        for name, values in (("kernel", accuracy.kernel), ("torch", accuracy.torch_lstm)):
            largest[name] = max(largest[name], *accuracy.errors(values(case), want).values())
    assert 0.1 < largest["kernel"] <= BOUND * largest["torch"], largest


def test_an_error_is_in_eps_of_the_largest_number() -> None:
    eps = 2.0**-23
    assert accuracy.errors({"y": [4.0 + 8 * eps, 1.0]}, {"y": [4.0, 1.0]})["y"] == pytest.approx(2.0)


def kept(run: Any, but: Any) -> int:
    """The bytes that autograd keeps of a call, without those tensors that are there anyhow."""
    import torch

    there = {tensor.untyped_storage().data_ptr() for tensor in but}
    sizes: dict[int, int] = {}

    def seen(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in there:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(seen, lambda tensor: tensor):
        alive = run()
    assert alive[0].requires_grad
    return sum(sizes.values())


@pytest.mark.parametrize("shape", [(8, 20, 32, 64), (3, 11, 64, 40)], ids=str)
def test_training_keeps_what_the_derivatives_need_and_less_than_torchs(shape: Any) -> None:
    """Four gates, c and y of every step: c, because an output gate's derivative needs it, y as the input of the next
    step. Gates are kept in lines of 32 units. torch's node keeps its y, too, and a workspace."""
    require_kernel()
    require("torch")
    import torch

    rows, steps, inputs, hidden = shape
    own = torch.nn.LSTM(inputs, hidden, batch_first=True)
    ours = unilstm.port(own, to="torch", path="kernel")
    x = torch.ones(rows, steps, inputs, requires_grad=True)
    bytes_ = {name: kept(lambda layer=layer: layer(x), [x, *layer.parameters()]) for name, layer in
              (("own", own), ("ours", ours))}  # fmt: skip
    lines = -(-hidden // 32) * 32
    assert bytes_["ours"] <= 4 * rows * (steps * (4 * lines + 2 * hidden) + 4 * hidden)  # and the initial state
    assert bytes_["ours"] <= 1.1 * bytes_["own"]
