"""The NumPy backend of unilstm: forward only, float32 and float64, no framework."""
