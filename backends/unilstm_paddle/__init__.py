"""The PaddlePaddle backend of unilstm."""
