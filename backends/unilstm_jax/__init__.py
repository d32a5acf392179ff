"""The JAX backend of unilstm."""
