"""Guarded load and transactional save of ONNX files; the only place that touches model files."""

from __future__ import annotations

from bnopt.io.check import checker_complaint
from bnopt.io.load import LoadedModel, from_proto, load
from bnopt.io.pause import gc_paused
from bnopt.io.save import StagedModel, stage
from bnopt.io.serialize import tensor_bytes, to_proto

__all__ = [
    "LoadedModel",
    "StagedModel",
    "checker_complaint",
    "from_proto",
    "gc_paused",
    "load",
    "stage",
    "tensor_bytes",
    "to_proto",
]
