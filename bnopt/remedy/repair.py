"""What `fold` does about batch norms in training mode, and about wrong statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from bnopt.delivery import Progress
from bnopt.errors import RefusalError
from bnopt.findings import REPAIRABLE
from bnopt.remedy.ordinary import make_ordinary
from bnopt.remedy.run import Wish, calibrated
from bnopt.results import CalibrateResult
from bnopt.source import Source

if TYPE_CHECKING:
    from bnopt.runtime.data import DataSource

TrainingMode: TypeAlias = Literal["refuse", "eval"]

BATCH_MODES = frozenset({"training-mode", "batch-statistics"})
"""Codes of findings that say that a batch norm normalises by its batch."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """A model that is fit to be folded.

    Attributes:
        source: It; the one that was given if nothing had to be repaired.
        calibration: How its statistics were taken from data; None if they were not.
        notes: What was done.
        bound: Inputs that were bound and removed.
    """

    source: Source
    calibration: CalibrateResult | None = None
    notes: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()


def repair(
    source: Source,
    data: DataSource | None,
    set_inputs: Mapping[str, object] | None,
    provider: str,
    tell: Progress,
) -> Repaired:
    """Put batch norms into inference mode; with data, give them right statistics where needed.

    Args:
        source: Only read.
        data: Samples like those of the training data; None has only the stored statistics.
        set_inputs: As for `bnopt.fold`.
        provider: To measure on.
        tell: Called with (stage, done, total).

    Raises:
        RefusalError: A batch norm in training mode stores no statistics and there is no data, or
            it is of a kind that cannot be put into inference mode.
        BnoptError: As `bnopt.calibrate` says.
    """
    from bnopt import rules
    from bnopt.checkup import examine
    from bnopt.passes.prepare import prepare

    bound = tuple(set_inputs or ())
    work = source.model.clone()
    context = prepare(work, set_inputs=set_inputs).context
    seen = examine(work, context, data=data, run=False, provider=provider, tell=tell)
    findings = rules.check(seen.view)
    wrong = [f for f in findings if f.code in REPAIRABLE and f.severity != "info"]
    modes = [f for f in wrong if f.code in BATCH_MODES]
    if data is not None and wrong:
        wish = Wish(data=data, set_inputs=set_inputs, provider=provider)
        with calibrated(source, wish, tell) as result:
            notes = (f"statistics taken from data before folding: {_counted(result)}",)
            return Repaired(Source(result.model), result, (*notes, *result.notes), bound)
    if not modes:
        return Repaired(source)
    ready = make_ordinary(source, set_inputs, constants=False)
    for slot in ready.slots:
        if slot.rewritten and (slot.mean is None or slot.variance is None):
            raise RefusalError(
                f"'{slot.name}' stores no statistics to put it into inference mode with; give "
                "samples like those of the training data with --data"
            )
    batchwise = {finding.site for finding in modes}
    stuck = [one for one in ready.kept if one.site in batchwise]
    if stuck:
        raise RefusalError(
            f"'{stuck[0].name}' cannot be put into inference mode: {stuck[0].message}"
        )
    count = sum(slot.rewritten for slot in ready.slots)
    note = f"put into inference mode with their stored statistics: {count}"
    return Repaired(Source(ready.model), None, (note, *ready.notes), bound)


def _counted(result: CalibrateResult) -> str:
    found = len(result.layers) + len(result.kept)
    return f"{len(result.layers)} of {found} batch norms, {result.samples} samples"
