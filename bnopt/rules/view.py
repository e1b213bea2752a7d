"""All that a rule may look at: the batch norms of a model, and what running it has shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from bnopt.algebra.base import Context
from bnopt.evidence import Behaviour, Measured
from bnopt.rules.norms import Norm, collect
from bnopt.rules.switches import Switch, find_switches
from bnopt.rules.traces import Trace, find_traces


@dataclass(frozen=True, slots=True)
class View:
    """A model under audit.

    Attributes:
        model: Only read.
        context: Of the model.
        norms: Its batch norms, in graph order.
        traces: Batch norms that an exporter has folded away already.
        switches: Places where an input chooses between training and inference.
        behaviour: How the outputs depend on the batch; None if the model was not run.
        measured: Site id -> moments of the input of that batch norm, or of the output of the node
            of a trace; None without data.
    """

    model: ir.Model
    context: Context
    norms: tuple[Norm, ...]
    traces: tuple[Trace, ...]
    switches: tuple[Switch, ...]
    behaviour: Behaviour | None = None
    measured: Mapping[str, Measured] | None = field(default=None)

    @staticmethod
    def of(
        model: ir.Model,
        context: Context,
        *,
        behaviour: Behaviour | None = None,
        measured: Mapping[str, Measured] | None = None,
    ) -> View:
        """The view of `model`, valid until it is edited."""
        switches = find_switches(model, context)
        norms = collect(model, context, switches)
        return View(
            model, context, norms, find_traces(model, context), switches, behaviour, measured
        )

    @property
    def framework(self) -> str:
        """`tensorflow`, `pytorch`, or empty: what the model says it was made by."""
        producer = (self.model.producer_name or "").lower()
        if "tf2onnx" in producer or "tensorflow" in producer or "keras" in producer:
            return "tensorflow"
        return "pytorch" if "torch" in producer else ""

    @property
    def live(self) -> tuple[Norm, ...]:
        """The batch norms that an inference run uses: none that stands behind a switch only."""
        return tuple(norm for norm in self.norms if not norm.gated)
