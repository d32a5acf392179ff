"""The equations, once: one file a cell, each a pure function of the operations, the spec, the parameters and a step."""
