"""In place of lmp.model of the language-model-playground: `from unilstm.compat.lmp import LSTM2002Layer`,
LSTM1997Layer, LSTM2000Layer, and the language models LSTM1997, LSTM2000, LSTM2002.

What differs from lmp (ec4442a): the models of 2000 and 2002 obey init_ib (there it is dropped on the way); `pred`
always evaluates (there dropout acts in it while the model trains); the masks of dropout are others of the same
distribution. The attributes that the constructor settles are read-only. Keywords that the constructors do not know do
nothing, as there, so that a whole configuration can be passed to them.
"""

from .lmp_layers import LSTM1997Layer, LSTM2000Layer, LSTM2002Layer
from .lmp_models import LSTM1997, LSTM2000, LSTM2002

__all__ = ["LSTM1997", "LSTM2000", "LSTM2002", "LSTM1997Layer", "LSTM2000Layer", "LSTM2002Layer"]
