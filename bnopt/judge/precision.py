"""Machine epsilon of every floating-point type of ONNX."""

from __future__ import annotations

from typing import Any, cast


def machine_epsilon(dtype: str) -> float:
    """Distance from 1 to the next larger number of a dtype: 2^-23 for float32.

    Args:
        dtype: numpy's or ml_dtypes' name; of a complex type its parts count.
    """
    # np.finfo does not know bfloat16 and the 8-bit types.
    import ml_dtypes

    name = {"complex64": "float32", "complex128": "float64"}.get(dtype, dtype)
    return float(cast("Any", ml_dtypes.finfo(name)).eps)
