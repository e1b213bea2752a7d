"""The models that the public functions take: a path, an `onnx.ModelProto` or an `onnx_ir.Model`."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from bnopt.findings import ModelInfo

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

Model: TypeAlias = "str | os.PathLike[str] | onnx.ModelProto | ir.Model"


class Source:
    """A model as it was given, as a graph, and as a file for the judge."""

    """A model as it was given, as a graph, and as a file for the judge.

    Attributes:
        model: The graph; not to be changed, it may be the caller's own.
        path: The file it came from, absolute, or None.
    """

    def __init__(self, model: Model) -> None:
        import onnx
        import onnx_ir as ir

        from bnopt import io

        self.path: Path | None = None
        self._proto = isinstance(model, onnx.ModelProto)
        if isinstance(model, onnx.ModelProto):
            self.model = io.from_proto(model)
        elif isinstance(model, ir.Model):
            self.model = model
        else:
            loaded = io.load(model)
            self.model = loaded.model
            self.path = loaded.path

    def info(self) -> ModelInfo:
        """What the model says of itself."""
        model = self.model
        return ModelInfo(
            path=None if self.path is None else str(self.path),
            ir_version=int(model.ir_version or 0),
            opset={domain or "ai.onnx": n for domain, n in model.graph.opset_imports.items()},
            producer=" ".join(filter(None, (model.producer_name, model.producer_version))),
            nodes=sum(count_nodes(model).values()),
        )

    def on_disk(self, stack: ExitStack) -> Path:
        """A file that holds the model, for as long as `stack` lives."""
        if self.path is not None:
            return self.path
        from bnopt import io

        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bnopt-"))
        return stack.enter_context(io.stage(self.model, Path(folder) / "model.onnx")).path

    def same_kind(self, model: ir.Model) -> Any:
        """`model` as an `onnx.ModelProto` if this one was given as such."""
        if not self._proto:
            return model
        from bnopt import io

        return io.to_proto(model)


def count_nodes(model: ir.Model) -> dict[str, int]:
    """Nodes by operator over all scopes, sorted by name; custom ones as `domain::Operator`."""
    from bnopt.graph.scopes import scopes

    counts = Counter(
        f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        for scope in scopes(model)
        for node in scope.graph
    )
    return dict(sorted(counts.items()))
