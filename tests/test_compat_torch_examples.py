"""The documented examples of torch.nn.LSTM give the same tensors with compat.torch.LSTM in its place."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import close, require
from unilstm.compat.torch import LSTM

require("torch")
import torch  # noqa: E402
from torch import nn  # noqa: E402

# The examples of torch's documentation and of a tutorial, as they are but for the import: `nn` is torch.nn, or the same
# with this LSTM in the place of its own.

DOCUMENTED = """
rnn = nn.LSTM(10, 20, 2)
input = torch.randn(5, 3, 10)
h0 = torch.randn(2, 3, 20)
c0 = torch.randn(2, 3, 20)
output, (hn, cn) = rnn(input, (h0, c0))
"""
BASIC = """
lstm = nn.LSTM(input_size=256, hidden_size=512, num_layers=2, batch_first=True)
input_tensor = torch.randn(4, 10, 256)
output, (h_n, c_n) = lstm(input_tensor)
"""
BIDIRECTIONAL = """
bilstm = nn.LSTM(input_size=256, hidden_size=256, num_layers=2, batch_first=True, bidirectional=True)
input_tensor = torch.randn(4, 10, 256)
output, (h_n, c_n) = bilstm(input_tensor)
last = h_n[-2:, :, :]
"""
CLASSIFIER = """
class LSTMClassifier(nn.Module):
    def __init__(self, vocab_size, embed_dim, hidden_dim, num_classes=2):
        super(LSTMClassifier, self).__init__()
        self.embedding = nn.Embedding(vocab_size, embed_dim, padding_idx=0)
        self.lstm = nn.LSTM(
            input_size=embed_dim,
            hidden_size=hidden_dim,
            num_layers=2,
            batch_first=True,
            bidirectional=True,
            dropout=0.3
        )
        self.fc = nn.Linear(hidden_dim * 2, num_classes)

    def forward(self, x):
        embedded = self.embedding(x)
        output, (hidden, cell) = self.lstm(embedded)
        hidden = torch.cat([hidden[-2, :, :], hidden[-1, :, :]], dim=1)
        logits = self.fc(hidden)
        return logits

vocab_size = 10000
model = LSTMClassifier(vocab_size=vocab_size, embed_dim=128, hidden_dim=128, num_classes=2)
model.eval()
input_ids = torch.randint(1, vocab_size, (8, 50))
output = model(input_ids)
state = model.state_dict()
"""
STACKED = """
deep_lstm = nn.LSTM(
    input_size=256,
    hidden_size=512,
    num_layers=4,
    batch_first=True,
    dropout=0.4
)
deep_lstm.eval()
input_tensor = torch.randn(2, 20, 256)
output, (h_n, c_n) = deep_lstm(input_tensor)
"""


def run(example: str, lstm: Any) -> dict[str, Any]:
    scope: dict[str, Any] = {"torch": torch, "nn": type("nn", (), {**vars(nn), "LSTM": lstm})}
    torch.manual_seed(0)
    with torch.no_grad():
        exec(example, scope)
    found = {name: value for name, value in scope.items() if isinstance(value, torch.Tensor)}
    return found | {f"state.{name}": value for name, value in scope.get("state", {}).items()}


@pytest.mark.parametrize(
    "example", [DOCUMENTED, BASIC, BIDIRECTIONAL, CLASSIFIER, STACKED], ids="12345"
)  # each prints nothing: its tensors are compared
def test_the_documented_example_gives_the_same_tensors(example: str) -> None:
    ours, theirs = run(example, LSTM), run(example, nn.LSTM)
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        close(ours[name], value, 1e-6)
