"""The project's own kernels: one direction of one layer, forward and backward, in C++ (source/), for every framework.

library.py loads them, job.py says what one call computes; the backends hand over pointers. Nothing here imports a
framework. Where they were not built, every layer runs on its other paths, and explain() says why.
"""
