"""keras.layers.CuDNNLSTM of Keras 2 and TensorFlow 1: cuDNN's arrays under the names and shapes of keras.layers.LSTM.

Each gate's block of the kernel has the shape [in, H], but its numbers are in the order of [H, in]; those of the
recurrent kernel are not transposed; there are two biases. Read as keras.layers.LSTM it would be noise, but for the
bias, which is twice as long.
"""

from __future__ import annotations

from .keras import GATES, LSTM, WRAPPER_ARGUMENTS
from .layout import Layout
from .tables import Argument, Form, Part, Tensor

CUDNN = Form(
    "CuDNNLSTM",
    (
        Tensor("{layer}{direction}kernel", (Part("weight_ih", GATES, reshaped=True),)),
        Tensor("{layer}{direction}recurrent_kernel", (Part("weight_hh", GATES, reshaped=True),)),
        Tensor("{layer}{direction}bias", (Part("bias_ih", GATES), Part("bias_hh", GATES))),
    ),
    LSTM.names,
)

KERAS_CUDNN = Layout(
    name="keras-cudnn",
    title="keras.layers.CuDNNLSTM (Keras 2), alone or in keras.layers.Bidirectional",
    forms=(CUDNN,),
    arguments=(
        Argument("units", "hidden_size"),
        Argument("input_size", "input_size", written=False),
        *WRAPPER_ARGUMENTS,
    ),
    bias="double",
    bias_optional=False,
    notes="Told from keras.layers.LSTM by its bias of 8 times the units. Names and directions as there.",
    source="keras 2.3, keras/layers/cudnn_recurrent.py, keras/engine/saving.py",
    tested="equations",
)
