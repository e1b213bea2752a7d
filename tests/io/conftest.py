"""The small model as a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from io_models import conv_model


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    """The small model as a file, everything inline."""
    path = tmp_path / "m.onnx"
    path.write_bytes(conv_model().SerializeToString())
    return path
