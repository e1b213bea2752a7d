"""Inputs and outputs whose declared type onnx_ir cannot hold, carried past it.

Two cases occur in models in use: a map type (what the `ZipMap` of classifiers returns), which
onnx_ir does not represent, and an output declared twice with different types, of which it keeps
the last. Both declarations are set aside before the graph is built and written back as they were.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import onnx
import onnx_ir as ir

_KEY = "bnopt.interface"


def set_aside(proto: onnx.ModelProto) -> tuple[bytes, ...]:
    """Strip the types that onnx_ir cannot hold from the main graph of `proto`, in place.

    Returns:
        The original `ValueInfoProto`s of these inputs and outputs, serialised, in order.
    """
    graph = proto.graph
    conflicting = _conflicting(graph.output)
    kept: list[bytes] = []
    for info in (*graph.input, *graph.output):
        if info.name in conflicting or _has_map(info.type):
            kept.append(info.SerializeToString(deterministic=True))
            info.ClearField("type")
    # A value_info is only a hint, and nothing about a map helps to fold.
    plain = [info for info in graph.value_info if not _has_map(info.type)]
    if len(plain) < len(graph.value_info):
        copies = [onnx.ValueInfoProto.FromString(info.SerializeToString()) for info in plain]
        del graph.value_info[:]
        graph.value_info.extend(copies)
    return tuple(kept)


def remember(model: ir.Model, kept: tuple[bytes, ...]) -> None:
    """Attach what `set_aside` returned to the graph; clones of the model carry it along."""
    if kept:
        model.graph.meta[_KEY] = kept


def restore(proto: onnx.ModelProto, model: ir.Model) -> None:
    """Write the declarations that were set aside back into the serialised model, in place."""
    kept = cast("tuple[bytes, ...]", model.graph.meta.get(_KEY, ()))
    waiting: dict[str, list[onnx.ValueInfoProto]] = {}
    for content in kept:
        info = onnx.ValueInfoProto.FromString(content)
        waiting.setdefault(info.name, []).append(info)
    for info in (*proto.graph.input, *proto.graph.output):
        if originals := waiting.get(info.name):
            info.CopyFrom(originals.pop(0))


def _conflicting(infos: Iterable[onnx.ValueInfoProto]) -> set[str]:
    first: dict[str, bytes] = {}
    conflicting: set[str] = set()
    for info in infos:
        content = info.type.SerializeToString(deterministic=True)
        if first.setdefault(info.name, content) != content:
            conflicting.add(info.name)
    return conflicting


def _has_map(kind: onnx.TypeProto) -> bool:
    which = kind.WhichOneof("value")
    if which == "map_type":
        return True
    if which == "sequence_type":
        return _has_map(kind.sequence_type.elem_type)
    return which == "optional_type" and _has_map(kind.optional_type.elem_type)
