"""Fixtures for the whole suite: the models beside the checkout, and Hypothesis's profile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# No deadline: onnxruntime's first call in a process is slow, and a slow machine is no bug.
# Derandomized: a run that failed must fail again; BNOPT_HYPOTHESIS=explore looks for new examples.
settings.register_profile("repeatable", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("BNOPT_HYPOTHESIS", "repeatable"))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of public models and framework exports; tests that need it skip without it."""
    folder = Path(os.environ.get("BNOPT_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no {folder.name}/ beside the checkout (or set BNOPT_SHARED)")
    return folder


@pytest.fixture(scope="session")
def corpus_models(shared_dir: Path) -> list[Path]:
    """Every model of the corpus of public models, in name order."""
    models = sorted((shared_dir / "corpus" / "models").glob("*.onnx"))
    if not models:
        pytest.skip("the shared folder holds no corpus")
    return models
