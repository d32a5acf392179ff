"""The models' equations, once for all backends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..masks import Masks
from ..ops import Tensor
from .ops import ModelOps
from .spec import LanguageModelSpec, SequenceClassifierSpec

State = tuple[Tensor, Tensor]
RunLSTM = Callable[[Tensor], tuple[Tensor, State]]


def language_model(
    ops: ModelOps,
    spec: LanguageModelSpec,
    p: dict[str, Tensor],
    tokens: Tensor,
    run_lstm: RunLSTM,
    masks: Masks | None,
) -> tuple[Tensor, State]:
    """tokens [B, T] → logits [B, T, V] and the LSTM's final state, through which no gradient flows.

    Dropout stands where the language-model-playground has it; see LanguageModelSpec.
    """
    x = drop(ops, spec, lookup(ops, p["embedding.weight"], tokens, spec.padding_idx), 0, masks)
    x = ops.tanh(ops.linear(x, p["input.weight"]) + p["input.bias"])
    y, (h, c) = run_lstm(drop(ops, spec, x, 1, masks))
    z = ops.tanh(ops.linear(drop(ops, spec, y, 2, masks), p["output.weight"]) + p["output.bias"])
    logits = ops.linear(drop(ops, spec, z, 3, masks), p["embedding.weight"])
    return logits, (ops.detach(h), ops.detach(c))


def sequence_classifier(
    ops: ModelOps, spec: SequenceClassifierSpec, p: dict[str, Tensor], x: Tensor, run_lstm: RunLSTM
) -> Tensor:
    """x: tokens [B, T] or features [B, T, I] → logits [B, C], from the last layer's final h of each direction."""
    if spec.vocab_size:
        x = lookup(ops, p["embedding.weight"], x, spec.padding_idx)
    _, (h, _) = run_lstm(x)
    last = [h[at] for at in range(h.shape[0] - spec.lstm.num_directions, h.shape[0])]
    return ops.linear(ops.concat(last), p["fc.weight"]) + p["fc.bias"]


def lookup(ops: ModelOps, table: Tensor, ids: Tensor, padding: int | None) -> Tensor:
    """Rows of a table. The padding's row gets no gradient from here; a tied table may give it one from elsewhere."""
    rows = ops.take(table, ids)
    if padding is None:
        return rows
    return ops.where((ids == padding)[..., None], ops.detach(rows), rows)


def drop(ops: ModelOps, spec: Any, x: Tensor, place: int, masks: Masks | None) -> Tensor:
    """x [B, T, F] times the mask `model_l{place}` [T, B, F], where something is dropped there."""
    dropped = spec.mask_places[place]
    if masks is None or not dropped:
        return x
    rows, steps, features = x.shape
    return x * ops.transpose(masks.get(f"model_l{place}", (steps, rows, features), dropped, x))


def cross_entropy(
    ops: ModelOps, logits: Tensor, targets: Tensor, smoothing: float = 0.0, padding: int | None = None
) -> Tensor:
    """The mean over the targets that are not padding; 0 where all are. logits [..., V], targets [...]."""
    log_p = ops.log_softmax(logits)
    each = -ops.pick(log_p, targets)
    if smoothing:
        each = each * (1.0 - smoothing) - ops.sum(log_p)[..., 0] * (smoothing / log_p.shape[-1])
    if padding is None:
        count = 1
        for size in each.shape:
            count = count * size
        return ops.total(each) / count
    zero, one = ops.full(0.0, each), ops.full(1.0, each)
    counted = targets != padding
    count = ops.maximum(ops.total(ops.where(counted, one, zero)), 1.0)
    return ops.total(ops.where(counted, each, zero)) / count
