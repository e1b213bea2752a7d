"""Paths of a conversion, and the process that conversions share."""

from __future__ import annotations

import pytest
from frontends import tf_models

from bnopt.frontends.tensorflow import run


@pytest.fixture
def shared_process(request, monkeypatch):
    """TensorFlow takes many seconds to import, so conversions share a process where they can."""
    if "own_process" not in request.fixturenames:
        monkeypatch.setattr(run, "Worker", tf_models.SharedWorker)


@pytest.fixture
def own_process():
    """For tests of what only a process of its own can show."""


@pytest.fixture
def source(tmp_path):
    """A path for a source, beside the folder of the export."""

    def path(name: str) -> str:
        return str(tmp_path / name)

    return path


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "export"
    made.mkdir()
    return made
