"""The named presets: a paper's LSTM as fields of a spec."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .errors import SpecError
from .spec import LSTMSpec


@dataclass(frozen=True)
class Preset:
    """A paper's LSTM: the fields it sets, the fields it needs from the caller, and where it comes from."""

    name: str
    title: str
    source: str
    fields: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


PRESETS: dict[str, Preset] = {
    p.name: p
    for p in (
        Preset(
            "vanilla",
            "The LSTM of today's frameworks",
            "Gers, Schmidhuber & Cummins 2000, Learning to Forget; without peepholes",
        ),
        Preset(
            "peephole",
            "Gates that see the cell",
            "Gers & Schmidhuber 2000, Recurrent Nets that Time and Count; Greff et al. 2017, eqs. 1-6 (V)",
            {"peephole": True},
        ),
        Preset(
            "cifg",
            "Coupled input and forget gate",
            "Greff et al. 2017, LSTM: A Search Space Odyssey (CIFG): f = 1 - i, with peepholes as there",
            {"coupled_gates": True, "peephole": True},
        ),
        Preset(
            "projected",
            "Recurrent projection layer",
            "Sak, Senior & Beaufays 2014, Long Short-Term Memory RNN Architectures for Large Scale Acoustic Modeling",
            {},
            ("proj_size",),
        ),
        *(
            Preset(
                name, title, f"Greff et al. 2017, LSTM: A Search Space Odyssey ({short})", {"peephole": True, **fields}
            )
            for name, title, short, fields in (
                ("no-input-gate", "i = 1", "NIG", {"gates": ("forget", "output")}),
                ("no-forget-gate", "f = 1, as in 1997", "NFG", {"gates": ("input", "output")}),
                ("no-output-gate", "o = 1", "NOG", {"gates": ("input", "forget")}),
                ("no-input-activation", "g is linear", "NIAF", {"cell_activation": "linear"}),
                ("no-output-activation", "h = o * c", "NOAF", {"output_activation": "linear"}),
            )
        ),
        Preset(
            "full-gate-recurrence",
            "Gates that see the gates of the step before",
            "Greff et al. 2017, LSTM: A Search Space Odyssey (FGR); Hochreiter & Schmidhuber 1997 used it too",
            {"gate_recurrence": True, "peephole": True},
        ),
        *(
            Preset(name, title, source, {"bias": "single", **fields}, ("num_blocks",))
            for name, title, source, fields in (
                (
                    "lstm-1997",
                    "The first LSTM: memory blocks, no forget gate",
                    "Hochreiter & Schmidhuber 1997, Long Short-Term Memory; with tanh for both squashing functions",
                    {"gates": ("input", "output")},
                ),
                (
                    "lstm-2000",
                    "Memory blocks that forget",
                    "Gers, Schmidhuber & Cummins 2000, Learning to Forget: Continual Prediction with LSTM",
                    {},
                ),
                (
                    "lstm-2002",
                    "Memory blocks with peepholes",
                    "Gers, Schraudolph & Schmidhuber 2002, Learning Precise Timing with LSTM Recurrent Networks",
                    {"peephole": True},
                ),
            )
        ),
        Preset(
            "layer-norm",
            "Layer normalisation of both products and of the cell",
            "Ba, Kiros & Hinton 2016, Layer Normalization, eqs. 20-22",
            {"layer_norm": "joint"},
        ),
        Preset(
            "zoneout",
            "Units that sometimes keep their old value",
            "Krueger et al. 2017, Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations (0.5 for c, "
            "0.05 for h: their character model of the Penn Treebank)",
            {"zoneout_hidden": 0.05, "zoneout_cell": 0.5},
        ),
        Preset(
            "awd",
            "The weight-dropped LSTM",
            "Merity, Keskar & Socher 2018, Regularizing and Optimizing LSTM Language Models (3 layers, weight dropout "
            "0.5, 0.3 between layers by one mask for all steps)",
            {"num_layers": 3, "weight_dropout": 0.5, "input_dropout": 0.3},
        ),
        *(
            Preset(name, title, f"Rocki 2016, Recurrent Memory Array Structures ({short})", fields, ("lanes",))
            for name, title, short, fields in (
                ("array", "Several memories, one h", "Array-LSTM", {}),
                (
                    "stochastic-array",
                    "One memory speaks at a time",
                    "Stochastic output pooling, its expectation-free form: the lane whose output gate is most open",
                    {"lane_pooling": "argmax"},
                ),
                (
                    "attention-array",
                    "Memories that share attention",
                    "Lane selection by soft attention",
                    {"lane_pooling": "attention"},
                ),
            )
        ),
        Preset(
            "slstm",
            "Exponential gates with a normaliser and a stabiliser",
            "Beck et al. 2024, xLSTM: Extended Long Short-Term Memory, section 2.2",
            {"cell": "slstm"},
        ),
        Preset(
            "minlstm",
            "Gates that see the input alone: a parallel scan",
            "Feng et al. 2024, Were RNNs All We Needed?, section 3.2",
            {"cell": "minlstm", "cell_activation": "linear"},
        ),
        Preset(
            "alternating-highway",
            "Highway LSTM whose layers alternate in direction",
            "He, Lee, Lewis & Zettlemoyer 2017, Deep Semantic Role Labeling: What Works and What's Next (8 layers, "
            "recurrent dropout 0.1); AllenNLP's StackedAlternatingLstm",
            {"direction": "alternating", "highway": True, "num_layers": 8, "recurrent_dropout": 0.1},
        ),
    )
}


def preset(name: str, **fields: Any) -> LSTMSpec:
    """The spec of a named preset; `fields` add the sizes and override what the preset sets.

    >>> preset("peephole", input_size=16, hidden_size=32)
    LSTMSpec(16, 32, peephole=True)
    """
    chosen = PRESETS.get(name)
    if chosen is None:
        raise SpecError(f"preset {name!r} is unknown. Choose one of: {', '.join(PRESETS)}.")
    for need in chosen.needs:
        if not fields.get(need):
            raise SpecError(f"preset {name!r} needs {need}. Give {need}=.")
    return LSTMSpec.from_dict({**chosen.fields, **fields})
