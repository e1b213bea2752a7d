"""Loop, whose scan outputs onnx's evaluator joins along the wrong axis for scalars and matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx.reference.op_run import OpRun

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Loop(OpRun):
    """Loop, opsets 1 to 25: scan outputs are stacked along a new leading axis."""

    body: Any

    def need_context(self) -> bool:
        """The body reads values of the enclosing graph."""
        return True

    def _run(
        self,
        trips: NDArray[np.int64] | None,
        condition: NDArray[np.bool_] | None = None,
        *carried: Any,
        context: dict[str, Any],
        attributes: dict[str, Any] | None = None,
        body: object = None,
    ) -> tuple[Any, ...]:
        names: list[str] = self.body.input_names
        count = len(carried)
        state = list(carried)
        scans: list[list[Any]] = [[] for _ in range(len(self.body.output_names) - 1 - count)]
        limit = None if trips is None else int(np.asarray(trips).reshape(-1)[0])
        go_on = condition is None or bool(np.asarray(condition).reshape(-1)[0])
        trip = 0
        while go_on and (limit is None or trip < limit):
            values = dict(context)
            values.update(zip(names, [np.asarray(trip), np.asarray(True), *state], strict=True))
            results = self.body.run(None, values, attributes=attributes)
            go_on = bool(np.asarray(results[0]).reshape(-1)[0])
            state = list(results[1 : 1 + count])
            for scan, value in zip(scans, results[1 + count :], strict=True):
                scan.append(value)
            trip += 1
        if trip == 0 and scans:
            # Their shape is then only known from declarations, which need not be there.
            raise ValueError("no iteration, so the shape of the scan outputs is unknown")
        return (*state, *(np.stack(scan) for scan in scans))
