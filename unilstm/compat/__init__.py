"""Classes that take the place of another system's LSTM: its constructor, attributes, calls and return values.

    from unilstm.compat.torch import LSTM               # or paddle, keras, allennlp, arraylstm, haste, lmp

At home, each is a module of its own framework with the other system's names in its state_dict; `backend=` gives the
same class on any other. docs/compat.md says how the results differ where the original has a defect.

Importing this imports nothing else; a framework is imported where an object of it is made.
"""
