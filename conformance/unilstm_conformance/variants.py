"""The variants that cases are made of: each field of a spec, and fields that meet; as data."""

from __future__ import annotations

from typing import Any

ACTIVATIONS: tuple[Any, ...] = (
    "sigmoid",
    "tanh",
    "relu",
    ("affine", 0.4, 0.3),
    ("leaky_relu", 0.1),
    ("thresholded_relu", 0.2),
    ("scaled_tanh", 1.7159, 2 / 3),
    ("hard_sigmoid", 0.2, 0.5),
    ("elu", 0.7),
    "softsign",
    "softplus",
)


# (variant, fields of the spec, fields of the case). They are for 4 inputs and 6 units.
Variants = tuple[tuple[str, dict[str, Any], dict[str, Any]], ...]
HARD = ("hard_sigmoid", 0.5, 0.5)  # gates that are often exactly 0 or 1

# One field changed at a time, with what it needs.
FIELDS: Variants = (
    ("hard-sigmoid-torch", {"gate_activation": ("hard_sigmoid", 1 / 6, 0.5)}, {}),
    ("gate-clip", {"gate_clip": 0.6}, {}),
    ("cell-clip", {"cell_clip": 0.3}, {"dtype": "float64"}),
    ("proj-clip", {"proj_size": 4, "proj_clip": 0.2}, {"lengths": "ragged"}),
    ("peephole-clipped", {"peephole": True, "gate_clip": 0.6, "cell_clip": 0.4}, {"lengths": "ragged"}),
    ("merge-sum", {"direction": "bidirectional", "merge": "sum"}, {}),
    ("merge-mul", {"direction": "bidirectional", "merge": "mul"}, {"lengths": "ragged", "dtype": "float64"}),
    ("merge-average", {"direction": "bidirectional", "merge": "average"}, {"lengths": "short"}),
    ("learned-state", {"learned_state": True}, {"state": False, "lengths": "ragged", "thorough": True}),
    ("learned-state-given", {"learned_state": True, "direction": "bidirectional"}, {"dtype": "float64"}),
    ("zero-state", {"num_layers": 2}, {"state": False, "lengths": "ragged"}),
    ("bias-single", {"bias": "single"}, {}),
    ("bias-none", {"bias": "none", "direction": "bidirectional"}, {"lengths": "ragged", "dtype": "float64"}),
    ("coupled", {"coupled_gates": True}, {"dtype": "float64"}),
    ("time-major", {"batch_first": False}, {"lengths": "ragged", "thorough": True}),
    ("one-step", {"num_layers": 2}, {"steps": 1, "lengths": "full"}),
    ("one-row", {"direction": "reverse"}, {"batch": 1, "lengths": "full"}),
    ("dropout", {"num_layers": 2, "dropout": 0.4}, {"key": 0x123456789ABCDEF, "thorough": True}),
    (
        "dropout-ragged",
        {"num_layers": 2, "direction": "bidirectional", "dropout": 0.25},
        {"key": 2**64 - 1, "lengths": "ragged", "dtype": "float64"},
    ),
    ("no-gates", {"gates": ()}, {"lengths": "ragged"}),
    (
        "highway-projected",
        {"highway": True, "proj_size": 4, "bias": "single"},
        {"lengths": "short", "dtype": "float64"},
    ),
    ("residual", {"num_layers": 3, "residual": True, "direction": "bidirectional"}, {"lengths": "ragged"}),
    (
        "recurrent-dropout",
        {"num_layers": 2, "direction": "bidirectional", "recurrent_dropout": 0.4, "highway": True},
        {"key": 0xFEDCBA987654321, "lengths": "ragged"},
    ),
    (
        "residual-both-dropouts",
        {"num_layers": 3, "residual": True, "recurrent_dropout": 0.3, "dropout": 0.3, "peephole": True},
        {"key": 5, "dtype": "float64"},
    ),
    (
        "everything",
        {
            "highway": True,
            "direction": "bidirectional",
            "merge": "average",
            "batch_first": False,
            "bias": "single",
            "proj_size": 4,
            "coupled_gates": True,
            "peephole": True,
            "gate_activation": ("hard_sigmoid", 0.2, 0.5),
            "cell_activation": "softsign",
            "output_activation": ("scaled_tanh", 1.7159, 2 / 3),
            "gate_clip": 1.5,
            "cell_clip": 0.2,
            "proj_clip": 0.5,
            "learned_state": True,
        },
        {"state": False, "lengths": "ragged"},
    ),
)

# Memory blocks, lanes, norms and gates that remember: alone where no preset has them so, and where they meet.
CELLS: Variants = (
    (
        "blocks-coupled",
        {"num_blocks": 2, "coupled_gates": True, "peephole": True, "gate_clip": 1.0},
        {"lengths": "ragged"},
    ),
    (
        "blocks-in-lanes",
        {"num_blocks": 3, "lanes": 2, "highway": True, "proj_size": 4, "peephole": True, "bias": "single"},
        {"lengths": "short", "dtype": "float64"},
    ),
    ("argmax-of-equals", {"lanes": 3, "lane_pooling": "argmax", "gate_activation": HARD}, {"dtype": "float64"}),
    (
        "attention-max",
        {"lanes": 2, "lane_pooling": "attention-max", "peephole": True, "gate_activation": HARD, "cell_clip": 0.5},
        {"lengths": "ragged"},
    ),
    (
        "lanes-without-gates",
        {"lanes": 2, "gates": ("input",), "bias": "none", "learned_state": True, "direction": "bidirectional"},
        {"state": False, "lengths": "ragged"},
    ),
    (
        "norm-in-lanes",
        {"layer_norm": "joint", "lanes": 2, "highway": True, "bias": "single", "layer_norm_eps": 0.1},
        {"dtype": "float64"},
    ),
    (
        "norm-of-state",
        {"layer_norm": "normalized-state", "peephole": True, "cell_clip": 0.5},
        {"lengths": "ragged", "thorough": True},
    ),
    (
        "norm-of-state-no-bias",
        {"layer_norm": "normalized-state", "bias": "none", "lanes": 2, "lane_pooling": "argmax"},
        {"lengths": "short", "dtype": "float64"},
    ),
    ("norm-per-gate", {"layer_norm": "per-gate", "highway": True, "bias": "none"}, {"lengths": "ragged"}),
    (
        "norm-per-gate-blocks",
        {"layer_norm": "per-gate", "num_blocks": 3, "coupled_gates": True, "peephole": True, "layer_norm_eps": 0.1},
        {"dtype": "float64"},
    ),
    (
        "gate-recurrence-clipped",
        {"gate_recurrence": True, "coupled_gates": True, "gate_clip": 1.0, "layer_norm": "joint"},
        {"lengths": "ragged", "dtype": "float64"},
    ),
    (
        "gate-recurrence-learned",
        {"gate_recurrence": True, "gates": ("input", "output"), "learned_state": True, "direction": "bidirectional"},
        {"state": False, "lengths": "ragged", "thorough": True},
    ),
    (
        "slstm-heads",
        {"cell": "slstm", "num_heads": 3, "exponential_forget": True, "direction": "bidirectional"},
        {"lengths": "ragged", "thorough": True},
    ),
    (
        "slstm-learned",
        {"cell": "slstm", "num_heads": 2, "learned_state": True, "bias": "single", "num_layers": 2, "residual": True},
        {"state": False, "lengths": "short", "dtype": "float64"},
    ),
    (
        "minlstm-residual",
        {"cell": "minlstm", "num_layers": 3, "direction": "alternating", "residual": True, "bias": "single"},
        {"lengths": "ragged", "dtype": "float64"},
    ),
)

# In training: every kind of mask alone, and with the fields that change its shape or what it multiplies.
MASKS: Variants = (
    (
        "input-dropout",
        {"num_layers": 2, "direction": "bidirectional", "input_dropout": 0.4, "dropout": 0.3, "highway": True},
        {"key": 7, "lengths": "ragged"},
    ),
    (
        "per-gate-dropout",
        {
            "recurrent_dropout": 0.4,
            "recurrent_dropout_kind": "per-gate",
            "lanes": 2,
            "num_blocks": 3,
            "proj_size": 4,
            "highway": True,
        },
        {"key": 8, "dtype": "float64"},
    ),
    (
        "per-gate-dropout-norm",
        {"recurrent_dropout": 0.4, "recurrent_dropout_kind": "per-gate", "layer_norm": "joint"},
        {"key": 9, "lengths": "ragged"},
    ),
    (
        "candidate-dropout",
        {"recurrent_dropout": 0.4, "recurrent_dropout_kind": "candidate", "lanes": 2, "lane_pooling": "attention"},
        {"key": 10},
    ),
    (
        "weight-dropout",
        {"weight_dropout": 0.4, "proj_size": 4, "peephole": True},
        {"key": 11, "dtype": "float64"},
    ),
    (
        "zoneout-projected",
        {
            "zoneout_hidden": 0.4,
            "zoneout_cell": 0.3,
            "proj_size": 4,
            "recurrent_dropout": 0.3,
            "input_dropout": 0.3,
            "lanes": 2,
        },
        {"key": 12, "thorough": True},
    ),
    (
        "zoneout-gate-recurrence",
        {"zoneout_cell": 0.4, "gate_recurrence": True, "peephole": True, "direction": "reverse"},
        {"key": 13, "dtype": "float64"},
    ),
    (
        "slstm-masks",
        {
            "cell": "slstm",
            "num_heads": 2,
            "input_dropout": 0.3,
            "recurrent_dropout": 0.3,
            "weight_dropout": 0.3,
            "zoneout_hidden": 0.3,
            "zoneout_cell": 0.4,
        },
        {"key": 14, "state": False, "lengths": "ragged"},
    ),
    (
        "minlstm-masks",
        {"cell": "minlstm", "num_layers": 2, "direction": "bidirectional", "input_dropout": 0.3, "dropout": 0.3},
        {"key": 15},
    ),
    (
        "minlstm-zoneout",
        {"cell": "minlstm", "zoneout_hidden": 0.3, "zoneout_cell": 0.3},
        {"key": 16, "dtype": "float64"},
    ),
)

VARIANTS: Variants = (*FIELDS, *CELLS, *MASKS)
