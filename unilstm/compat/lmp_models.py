"""The language models of compat.lmp: LSTM1997, LSTM2000, LSTM2002."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from ..errors import InputError
from ..models.lmp import NAMES, PADDING, STACK
from ..models.methods import LanguageModelMethods
from ..models.ops import ModelOps
from ..models.parameters import LmpInit
from ..models.spec import LanguageModelSpec
from ..stored import Draws, Shape
from .dropin import DropIn, given_arguments, settled, spec_of
from .initial import linear
from .lmp_layers import block_state, default_values, lmp_values

States = tuple[list[Any], list[Any]]


class LSTM1997(DropIn):
    """lmp.model.LSTM1997: a language model with tied embeddings on LSTM1997Layers.

    d_emb features of an embedding; n_lyr layers of n_blk blocks of d_blk units; p_emb, p_hid: dropout of embeddings and
    of hidden units; label_smoothing; init_lower, init_upper, init_ib, init_ob: of params_init(); tknzr: anything with a
    vocab_size. Token 2 is the padding.
    backend: "torch" (a torch.nn.Module) or another; seed, dtype, device, path: as in unilstm.LSTM.

    The tensors have lmp's names; `emb`, `fc_e2h`, `stack_rnn` and `fc_h2e` hold them, but only calls of the whole model
    compute. On NumPy and JAX dropout acts where a call gives key= or masks=. What differs: see compat.lmp.
    """

    layout = "lmp"
    model_name: ClassVar[str] = "LSTM-1997"
    _form: ClassVar[str] = "LSTM1997"
    _embeddings = {"emb": PADDING}  # noqa: RUF012  # declared by the base

    def __init__(
        self,
        *,
        d_blk: int = 1,
        d_emb: int = 1,
        init_ib: float = -1.0,
        init_lower: float = -0.1,
        init_ob: float = -1.0,
        init_upper: float = 0.1,
        label_smoothing: float = 0.0,
        n_blk: int = 1,
        n_lyr: int = 1,
        p_emb: float = 0.0,
        p_hid: float = 0.0,
        tknzr: Any,
        backend: str = "torch",
        seed: int | None = None,
        dtype: Any = None,
        device: Any = None,
        path: str = "auto",
        **kwargs: Any,
    ) -> None:
        self._make(given_arguments(locals()))

    d_blk, d_emb, n_blk, n_lyr = settled("d_blk"), settled("d_emb"), settled("n_blk"), settled("n_lyr")
    p_emb, p_hid, label_smoothing = settled("p_emb"), settled("p_hid"), settled("label_smoothing")
    init_lower, init_upper = settled("init_lower"), settled("init_upper")
    init_ib, init_ob = settled("init_ib"), settled("init_ob")

    def _make(self, given: dict[str, Any]) -> None:
        given.pop("kwargs")
        vocabulary = given.pop("tknzr").vocab_size
        super().__init__()
        LmpInit(**{name: given[name] for name in given if name.startswith("init_")})  # checks them
        config = {name: given[name] for name in ("d_blk", "n_blk", "n_lyr")} | {
            "in_feat": given["n_blk"] * given["d_blk"]
        }
        lstm, form = spec_of("lmp", self._form, config)
        fields = {name: given[name] for name in ("d_emb", "p_emb", "p_hid", "label_smoothing")}
        self._model = LanguageModelSpec(lstm, vocab_size=vocabulary, padding_idx=PADDING, **fields)
        wide, narrow = lstm.hidden_size, given["d_emb"]
        shapes = ((vocabulary, narrow), (wide, narrow), (wide,), (narrow, wide), (narrow,))
        numbered = replace(form, names=replace(form.names, always=True))  # a stack of one is numbered, too
        self._build(
            given, self._model.lstm, numbered, extra=dict(zip(NAMES.values(), shapes, strict=True)), prefix=STACK
        )

    @property
    def d_hid(self) -> int:
        return self.spec.hidden_size

    def forward(
        self, batch_cur_tkids: Any, batch_prev_states: States | None = None, *, key: Any = None, masks: Any = None
    ) -> tuple[Any, States]:
        """Token ids [B, S] → logits [B, S, V], and the states to carry: a list of c [B, n_blk, d_blk] and one of h
        [B, d_hid], an entry a layer, through which no gradient flows."""
        core = _Core(self)
        logits, state = core(batch_cur_tkids, self._inside(batch_cur_tkids, batch_prev_states), key=key, masks=masks)
        return logits, self._outside(state)

    def cal_loss(
        self,
        batch_cur_tkids: Any,
        batch_next_tkids: Any,
        batch_prev_states: States | None = None,
        *,
        key: Any = None,
        masks: Any = None,
    ) -> tuple[Any, States]:
        """The smoothed cross entropy of the next ids [B, S], a mean over those that are no padding; and the states."""
        state = self._inside(batch_cur_tkids, batch_prev_states)
        loss, carried = _Core(self).loss(batch_cur_tkids, batch_next_tkids, state, key=key, masks=masks)
        return loss, self._outside(carried)

    def pred(self, batch_cur_tkids: Any, batch_prev_states: States | None = None) -> tuple[Any, States]:
        """The probabilities of the next token [B, S, V], in evaluation mode and without gradients; and the states."""
        with self._evaluating():
            state = self._inside(batch_cur_tkids, batch_prev_states)
            probabilities, carried = _Core(self).predict(batch_cur_tkids, state)
        return probabilities, self._outside(carried)

    def params_init(self, seed: int | None = None) -> None:
        """Draw all parameters anew: U(init_lower, init_upper), and the gates' biases as their layers say; from a seed,
        or from the framework's own generator."""
        self._reset(lambda draws, shapes: lmp_values(self._arguments, draws, shapes), seed)

    @classmethod
    def add_CLI_args(cls, parser: argparse.ArgumentParser) -> None:
        """Add the model's hyperparameters to a parser, each with the constructor's default."""
        group = parser.add_argument_group(f"{cls.model_name} constructor arguments")
        for name, (default, text) in _HYPERPARAMETERS.items():
            if name != "init_fb" or cls._form != "LSTM1997":
                group.add_argument(f"--{name}", default=default, type=type(default), help=text)

    def _inside(self, tokens: Any, states: Any) -> tuple[Any, Any]:
        """lmp's states, or the buffers, as h [L, B, H] and c [L, B, H]."""
        layers, rows = range(self.n_lyr), len(tokens)
        if states is not None and (len(states) != 2 or any(len(part) != self.n_lyr for part in states)):
            raise InputError(
                f"batch_prev_states must be (c, h), a list of {self.n_lyr} tensors each: one a layer. "
                "Give what the call before returned, or None."
            )
        cs, hs = states or ([None] * self.n_lyr, [None] * self.n_lyr)
        found_h = [block_state(self, "h", hs[k], rows, (self.d_hid,), f"{STACK}{2 * k}.h_0") for k in layers]
        blocks = (self.n_blk, self.d_blk)
        found_c = [block_state(self, "c", cs[k], rows, blocks, f"{STACK}{2 * k}.c_0") for k in layers]
        return self._ops().stack(found_h), self._ops().stack(found_c)

    def _outside(self, state: tuple[Any, Any]) -> States:
        h, c = state
        shape = (c.shape[1], self.n_blk, self.d_blk)
        return [self._ops().reshape(c[k], shape) for k in range(self.n_lyr)], [h[k] for k in range(self.n_lyr)]

    def _ordered(self, names: Iterable[str]) -> list[str]:
        """In the order of the computation, as there: an optimizer's state goes by it."""
        parts = ("emb", "fc_e2h", "stack_rnn", "fc_h2e")
        return sorted(names, key=lambda name: parts.index(name.partition(".")[0]))

    def _initial(self, draws: Draws, shapes: Mapping[str, Shape]) -> dict[str, Any]:
        """What a model has before params_init(): torch's values of its modules."""
        layers = {name: shape for name, shape in shapes.items() if name.startswith(STACK)}
        table = draws.normal(shapes["emb.weight"])
        table[PADDING] = 0.0
        found = {"emb.weight": table} | default_values(draws, layers)
        for name, shape in shapes.items():
            if name not in found:
                found[name] = linear(draws, shape, shapes[name.replace("bias", "weight")][1])
        return found


class LSTM2000(LSTM1997):
    """lmp.model.LSTM2000: the same on LSTM2000Layers. init_fb: of params_init(). The other arguments: see LSTM1997."""

    model_name = "LSTM-2000"
    _form = "LSTM2000"

    def __init__(
        self,
        *,
        d_blk: int = 1,
        d_emb: int = 1,
        init_fb: float = 1.0,
        init_ib: float = -1.0,
        init_lower: float = -0.1,
        init_ob: float = -1.0,
        init_upper: float = 0.1,
        label_smoothing: float = 0.0,
        n_blk: int = 1,
        n_lyr: int = 1,
        p_emb: float = 0.0,
        p_hid: float = 0.0,
        tknzr: Any,
        backend: str = "torch",
        seed: int | None = None,
        dtype: Any = None,
        device: Any = None,
        path: str = "auto",
        **kwargs: Any,
    ) -> None:
        self._make(given_arguments(locals()))

    init_fb = settled("init_fb")


class LSTM2002(LSTM2000):
    """lmp.model.LSTM2002: the same on LSTM2002Layers. The arguments: see LSTM2000."""

    model_name = "LSTM-2002"
    _form = "LSTM2002"


class _Core(LanguageModelMethods):
    """unilstm's language model over the tensors of a drop-in, for one call."""

    def __init__(self, owner: LSTM1997) -> None:
        self.owner, self.spec, self.lstm = owner, owner._model, owner._lstm

    def __call__(self, tokens: Any, state: Any = None, *, key: Any = None, masks: Any = None) -> Any:
        return self._logits(tokens, state, key, masks, self.owner._training())

    def ops(self) -> ModelOps:
        return self.owner._model_ops()

    def own_tensors(self) -> dict[str, Any]:
        return {ours: self.owner._own(theirs) for ours, theirs in NAMES.items()}

    def draw_key(self) -> Any:
        return self.owner._draw_key()


_HYPERPARAMETERS = {
    "d_blk": (1, "Units in a memory cell block."),
    "d_emb": (1, "Features of a token embedding."),
    "init_fb": (1.0, "Upper bound of the forget gates' initial biases."),
    "init_ib": (-1.0, "Lower bound of the input gates' initial biases."),
    "init_lower": (-0.1, "Lower bound of the other initial parameters."),
    "init_ob": (-1.0, "Lower bound of the output gates' initial biases."),
    "init_upper": (0.1, "Upper bound of the other initial parameters."),
    "label_smoothing": (0.0, "Share of the target's probability that all tokens divide."),
    "n_blk": (1, "Memory cell blocks in a layer."),
    "n_lyr": (1, "Recurrent layers."),
    "p_emb": (0.0, "Dropout probability of embeddings."),
    "p_hid": (0.0, "Dropout probability of hidden units."),
}
