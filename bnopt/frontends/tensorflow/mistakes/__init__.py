"""What is wrong with a TensorFlow graph that its ONNX export no longer shows, one mistake a file.

Each module has `CODE`, `SEVERITY`, `SUMMARY`, `CAUSES`, and a docstring that documents the code, as
the rules of `bnopt.rules` have. What a rule there already means is reported under the rule's code.
"""

from bnopt.frontends.tensorflow.mistakes import (
    decay_is_flag,
    fast_average,
    no_batch_norm,
    updates_at_inference,
    updates_not_run,
)

MISTAKES = (decay_is_flag, fast_average, updates_not_run, updates_at_inference, no_batch_norm)

__all__ = ["MISTAKES"]
