"""Random bits: the published test vectors, and the same mask on every backend, traced or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import Driver, numbers, require
from unilstm import LSTMSpec, layer_masks
from unilstm.masks import NUMPY_WORDS, Drawn, keep_mask, threefry, uniform

# The known answers of the Random123 distribution (kat_vectors: threefry2x32, 20 rounds).
KNOWN = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


def ops_of(name: str) -> Any:
    require(name)
    if name == "numpy":
        from unilstm_numpy.ops import OPS
    elif name == "torch":
        from unilstm_torch.ops import TorchOps

        return TorchOps()
    elif name == "paddle":
        from unilstm_paddle.ops import OPS
    else:
        from unilstm_jax.ops import OPS
    return OPS


@pytest.mark.parametrize(("key", "counter", "expected"), KNOWN)
def test_threefry_gives_the_published_answers(backend: Any, key: Any, counter: Any, expected: Any) -> None:
    words = ops_of(backend.name).words
    array = words.counter(1)  # to take the path of an array, not of Python numbers
    found = threefry(words, tuple(map(words.constant, key)), *(array + words.constant(c) for c in counter))
    assert tuple(int(np.asarray(w)[0]) for w in found) == expected


@pytest.mark.parametrize("dropped", [0.1, 0.5, 0.99])
def test_a_key_gives_the_same_mask_on_every_backend(backend: Any, dropped: float) -> None:
    ops, numpy_ops = ops_of(backend.name), ops_of("numpy")
    shape, key = (5, 3, 7), 0x0123456789ABCDEF
    like = backend.tensor(np.zeros(1, "float32"))
    mask = keep_mask(ops, ops.key(key, like), 2, shape, dropped, like)
    expected = keep_mask(numpy_ops, numpy_ops.key(key, None), 2, shape, dropped, np.zeros(1, "float32"))
    assert backend.array(mask).tobytes() == expected.tobytes()
    assert set(np.unique(expected)) <= {np.float32(0), np.float32(1 / (1 - dropped))}


def test_a_mask_drops_its_share() -> None:
    ops = ops_of("numpy")
    mask = keep_mask(ops, ops.key(9, None), 0, (100_000,), 0.3, np.zeros(1))
    assert abs((mask == 0).mean() - 0.3) < 0.005
    assert abs(mask.mean() - 1.0) < 0.01


def test_streams_and_keys_differ() -> None:
    ops = ops_of("numpy")
    masks = [
        keep_mask(ops, ops.key(key, None), stream, (64,), 0.5, np.zeros(1)).tobytes()
        for key in (1, 2, 2**32, 2**63)
        for stream in (0, 1)
    ]
    assert len(set(masks)) == len(masks)


def test_uniform_values_are_even_and_have_53_bits() -> None:
    values = uniform(1, 2, (100_000,))
    assert values.dtype == np.float64
    assert values.min() >= 0.0
    assert values.max() < 1.0
    histogram, _ = np.histogram(values, 10, (0, 1))
    assert (abs(histogram - 10_000) < 500).all()
    assert ((values * 2.0**53) % 2).any()
    assert NUMPY_WORDS.counter(3).dtype == np.uint64


def test_dropout_of_one_key_is_the_same_on_every_backend(backend: Any) -> None:
    fields: dict[str, Any] = {"num_layers": 3, "dropout": 0.4, "direction": "bidirectional"}
    x = numbers(3, 5, 4)
    expected = Driver(require("numpy"), unilstm.LSTMSpec(4, 6, **fields))(x, key=2**40 + 3)[0]
    driver = Driver(backend, unilstm.LSTMSpec(4, 6, **fields))
    if hasattr(driver.layer, "train"):
        driver.layer.train()
    np.testing.assert_allclose(driver(x, key=2**40 + 3)[0], expected, atol=1e-13)
    assert np.abs(driver(x, key=1)[0] - expected).max() > 1e-3


EVERY_MASK: dict[str, dict[str, Any]] = {
    "input-and-weight": {"input_dropout": 0.3, "weight_dropout": 0.4, "num_layers": 2, "direction": "bidirectional"},
    "per-gate": {"recurrent_dropout": 0.4, "recurrent_dropout_kind": "per-gate", "highway": True},
    "per-gate-of-blocks": {"recurrent_dropout": 0.4, "recurrent_dropout_kind": "per-gate", "num_blocks": 2},
    "candidate-of-lanes": {"recurrent_dropout": 0.4, "recurrent_dropout_kind": "candidate", "lanes": 2},
    "zoneout": {"zoneout_hidden": 0.3, "zoneout_cell": 0.5, "direction": "reverse"},
    "zoneout-slots": {"cell": "slstm", "zoneout_cell": 0.5, "weight_dropout": 0.3, "num_heads": 2},
}


class Recorded:
    """The masks of a key, remembered by name."""

    def __init__(self, masks: Any) -> None:
        self.masks, self.found = masks, {}

    def get(self, name: str, *rest: Any) -> Any:
        self.found[name] = self.masks.get(name, *rest)
        return self.found[name]


@pytest.mark.parametrize("fields", EVERY_MASK.values(), ids=EVERY_MASK)
def test_every_mask_of_a_key_is_bit_identical_on_every_backend_and_its_call_agrees(backend: Any, fields: Any) -> None:
    spec, x, key = LSTMSpec(4, 6, **fields), numbers(3, 5, 4), 2**50 + 17
    found, outputs = [], []
    for one in (backend, require("numpy")):
        driver = Driver(one, spec)
        if hasattr(driver.layer, "train"):
            driver.layer.train()
        ops = driver.layer._ops()
        with driver.scope():
            like = one.tensor(np.zeros((5, 3, 4)))
            masks = Recorded(Drawn(ops, ops.key(key, like)))
            for k in range(spec.num_layers):
                width = one.tensor(np.zeros((5, 3, spec.layer_input_size(k))))
                layer_masks.get_masks(spec, k, masks, width)
            found.append({name: one.array(mask) for name, mask in masks.found.items()})
        outputs.append(driver(x, key=key, lengths=[5, 0, 3])[0])
        with driver.scope():
            given = {name: one.tensor(mask) for name, mask in found[-1].items()}
        np.testing.assert_array_equal(driver(x, masks=given, lengths=[5, 0, 3])[0], outputs[-1])
    assert list(found[0]) == layer_masks.names(spec)
    for name, mask in found[0].items():
        assert mask.tobytes() == found[1][name].tobytes(), name
    np.testing.assert_allclose(*outputs, atol=1e-13)


def test_every_mask_is_the_same_under_jit() -> None:
    jax = require("jax") and __import__("jax")
    fields = {"input_dropout": 0.3, "weight_dropout": 0.4, "recurrent_dropout": 0.2, "zoneout_cell": 0.5}
    layer = unilstm.LSTM(4, 6, backend="jax", seed=0, **fields)
    x = numbers(3, 5, 4, dtype="float32")
    compiled = jax.jit(lambda layer, x, key: layer(x, key=key)[0])(layer, x, jax.numpy.array([3, 9], "uint32"))
    np.testing.assert_allclose(compiled, layer(x, key=3 + (9 << 32))[0], atol=1e-6)


@pytest.mark.parametrize("key", [-1, 2**64, [1, 2, 3], [0.5, 0.5]])
def test_a_key_that_is_none_is_refused(backend: Any, key: Any) -> None:
    driver = Driver(backend, unilstm.LSTMSpec(4, 6, num_layers=2, dropout=0.5))
    if hasattr(driver.layer, "train"):
        driver.layer.train()
    with pytest.raises(unilstm.InputError, match="key="):
        driver(numbers(3, 5, 4), key=np.array(key) if isinstance(key, list) else key)


@pytest.mark.parametrize("name", ["torch", "paddle"])
def test_evaluation_drops_nothing_and_refuses_a_key(name: str) -> None:
    driver = Driver(require(name), unilstm.LSTMSpec(4, 6, num_layers=2, dropout=0.5))
    x = numbers(3, 5, 4)
    np.testing.assert_array_equal(driver(x)[0], driver(x)[0])
    with pytest.raises(unilstm.InputError, match="key= was given in evaluation mode"):
        driver(x, key=1)


@pytest.mark.parametrize("name", ["torch", "paddle"])
def test_training_draws_its_key_from_the_frameworks_generator(name: str) -> None:
    driver = Driver(require(name), unilstm.LSTMSpec(4, 6, num_layers=2, dropout=0.5))
    driver.layer.train()
    x, found = numbers(3, 5, 4), []
    for _ in range(2):
        __import__(name).seed(4) if name == "paddle" else __import__(name).manual_seed(4)
        found.append([driver(x)[0], driver(x)[0]])
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0][0] - found[0][1]).max() > 1e-3


@pytest.mark.parametrize("kind", ["int8", "int64", "uint64"])
@pytest.mark.parametrize("name", ["numpy", "torch", "paddle", "jax"])
def test_a_key_may_be_one_of_numpys_whole_numbers(name: str, kind: str) -> None:
    ops = ops_of(name)
    like = require(name).tensor(np.zeros(1, "float32"))
    assert [int(word) for word in ops.key(np.dtype(kind).type(7), like)] == [7, 0]
    for wrong in (np.int64(-1), True):
        with pytest.raises(unilstm.InputError, match="must be a whole number in"):
            ops.key(wrong, like)
