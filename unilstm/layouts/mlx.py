"""mlx.nn.LSTM."""

from __future__ import annotations

from .layout import Layout
from .tables import Argument, Form, Names, Part, Tensor
from .torch import GATES

LSTM = Form(
    "LSTM",
    (
        Tensor("{layer}Wx", (Part("weight_ih", GATES, transposed=True),)),
        Tensor("{layer}Wh", (Part("weight_hh", GATES, transposed=True),)),
        Tensor("{layer}bias", (Part("bias", GATES),)),
    ),
    Names("layers.{k}."),
)

MLX = Layout(
    name="mlx",
    title="mlx.nn.LSTM",
    forms=(LSTM,),
    arguments=(
        Argument("input_size", "input_size"),
        Argument("hidden_size", "hidden_size"),
        Argument("bias", table=((True, {"bias": "single"}), (False, {"bias": "none"})), default=True),
        Argument("batch_first", "batch_first", default=True),
    ),
    bias="single",
    bias_optional=True,
    notes="One layer a module, forward: several are written under layers.0., layers.1., … . It returns every step of h "
    "and of c. batch_first is no argument of mlx, and only written where it is False.",
    source="mlx 06f93d1, python/mlx/nn/layers/recurrent.py",
    tested="equations",
)
