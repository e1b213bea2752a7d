"""A suite that fails if the model that is shipped is not the model that was trained.

The plugin comes with bnopt: `pytest --bnopt-provider cuda` runs the same on a GPU.
"""

import os

import pytest

TRAINED = os.environ.get("TRAINED_MODEL", "model.onnx")
SHIPPED = os.environ.get("SHIPPED_MODEL", "model.folded.onnx")


@pytest.mark.parametrize("shipped", [SHIPPED])
def test_shipped_model_is_the_trained_one(bnopt_equivalence, shipped):  # noqa: D103
    bnopt_equivalence(TRAINED, shipped)
