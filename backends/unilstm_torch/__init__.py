"""The PyTorch backend of unilstm."""
