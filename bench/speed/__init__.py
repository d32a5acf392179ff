"""How fast the layers are beside each framework's own: `python -m speed` in bench/ writes docs/benchmarks/."""
