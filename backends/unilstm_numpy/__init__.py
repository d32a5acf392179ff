"""The NumPy backend of unilstm: float32 and float64, no framework."""
