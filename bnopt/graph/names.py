"""Fresh names for values and nodes: deterministic, and never one that is in use in any scope."""

from __future__ import annotations

import onnx_ir as ir

from bnopt.graph.scopes import scopes


def helps_debiasing(name: str | None) -> bool:
    """Whether a name is that of a helper variable of zero debiasing, such as `m/biased/read:0`.

    Source: TensorFlow, python/training/moving_averages.py (`_zero_debias`).
    """
    return not {"biased", "local_step"}.isdisjoint((name or "").replace(":", "/").split("/"))


class Names:
    """All value and node names of a model, and new ones on request."""

    def __init__(self, model: ir.Model) -> None:
        self._taken: set[str] = set()
        for scope in scopes(model):
            self._taken.update(scope.graph.initializers)
            self._taken.update(v.name for v in scope.graph.inputs if v.name)
            for node in scope.graph:
                if node.name:
                    self._taken.add(node.name)
                self._taken.update(v.name for v in node.outputs if v.name)

    def release(self, name: str | None) -> None:
        """Give a name back whose only bearer has left the model."""
        if name:
            self._taken.discard(name)

    def claim(self, name: str | None) -> None:
        """Mark a name as in use again."""
        if name:
            self._taken.add(name)

    def fresh(self, base: str) -> str:
        """`base` itself if it is free, else `base_1`, `base_2`, ..."""
        name, count = base, 0
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name
