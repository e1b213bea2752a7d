"""What every format says of an export: whom it was compared with, what was noted, what is next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bnopt.findings import REPAIRABLE, Finding
from bnopt.gates import unsaid
from bnopt.report.text import quoted
from bnopt.results import CalibrateResult, ExportResult

if TYPE_CHECKING:
    from bnopt.frontends.records import Variable

_NEVER = "never-updated"
_BY_BATCH = frozenset({"updates-not-run", "wrong-scope"})
"""Codes of findings that show that training normalised by the batch, whatever never moved."""
_PERHAPS_WORSE = (
    "statistics that never moved were taken from data: right if training normalised by the batch; "
    "if it ran in inference mode (in Keras: without training=True), the weights fit mean 0 and "
    "variance 1, and this makes the model worse: compare the accuracy"
)
_ROLES = ("gamma", "beta", "moving_mean", "moving_variance")


def framework_name(result: ExportResult) -> str:
    """The framework's name without its version, such as `tensorflow`."""
    return result.framework.partition(" ")[0].rstrip(",")


def calibration_of(result: ExportResult) -> CalibrateResult | None:
    """How statistics were repaired, by the export or by its fold; None if they were not.

    A fold that was refused leaves its calibration with itself.
    """
    if result.calibration is not None or result.fold is None:
        return result.calibration
    return result.fold.calibration


def is_repaired(result: ExportResult, finding: Finding) -> bool:
    """Whether what was found in the source is what statistics from data have put right."""
    return calibration_of(result) is not None and finding.code in REPAIRABLE


def repaired_word(result: ExportResult, finding: Finding) -> str:
    """What became of a finding in the source; empty if nothing was repaired.

    Where a batch norm was kept as it was, nothing tells whether the finding is about that one.
    """
    repair = calibration_of(result)
    if repair is None or not is_repaired(result, finding) or finding.severity == "info":
        return ""
    return "repaired in part" if repair.kept else "repaired"


def news(result: ExportResult) -> tuple[Finding, ...]:
    """Findings in the converted model that the source has not told as gravely, unrepaired."""
    told = [f for f in result.findings if f.severity != "info" and not is_repaired(result, f)]
    return tuple(unsaid(() if result.fold is None else result.fold.findings, told))


def all_notes(result: ExportResult) -> tuple[str, ...]:
    """Notes of the conversion, of a repair, then those of the fold that say something else."""
    of_fold = () if result.fold is None else result.fold.notes
    repaired = [one for one in result.findings if repaired_word(result, one)]
    explained = {one.site for one in repaired if one.code in _BY_BATCH}
    unsure = any(one.code == _NEVER and one.site not in explained for one in repaired)
    return tuple(dict.fromkeys((*result.notes, *[_PERHAPS_WORSE] * unsure, *of_fold)))


def variables_of(result: ExportResult) -> Sequence[Variable]:
    """The variables of batch norms; by layer and role where the source has them in no order.

    Keras hands on a set, also for a model that is a Python object and becomes a SavedModel.
    """
    if result.kind not in ("keras", "saved-model"):
        return result.variables
    return sorted(result.variables, key=_place)


def _place(variable: Variable) -> tuple[object, ...]:
    layer = variable.name.rpartition("/")[0]
    # Odd parts are digits: a number with more of them is larger.
    parts = enumerate(re.split(r"(\d+)", layer))
    numbered = [(len(part), part) if index % 2 else part for index, part in parts]
    role = _ROLES.index(variable.role) if variable.role in _ROLES else len(_ROLES)
    return numbered, role, variable.name


def stage_seconds(result: ExportResult) -> dict[str, float]:
    """Wall seconds of each stage, by what it does."""
    times, fold, calibration = result.timings, result.fold, result.calibration
    # What a fold calibrated is part of its own time.
    apart = calibration is not None and (fold is None or fold.calibration is None)
    return {
        "convert": times.load,
        "calibrate": sum(asdict(calibration.timings).values()) if calibration and apart else 0.0,
        "fold": 0.0 if fold is None else sum(asdict(fold.timings).values()),
        "compare": times.validate,
        "save": times.save,
    }


def next_command(result: ExportResult) -> str:
    """The command to run next; empty if there is none that helps."""
    fold = result.fold
    if result.output is not None:
        is_left = fold is None or fold.summary.kept
        return f"bnopt check {quoted(result.output)} --data D" if is_left else ""
    found = (*result.findings, *(() if fold is None else fold.findings))
    errors = [finding for finding in found if finding.severity == "error"]
    beyond = [error for error in errors if not _is_cured_by_data(result, error)]
    if errors and not beyond:
        return _repair_command(result)
    first = next(iter(beyond or found), None)
    return "" if first is None else f"bnopt explain {first.code}"


def _is_cured_by_data(result: ExportResult, error: Finding) -> bool:
    """Whether an export that is given data would get past an error."""
    if calibration_of(result) is not None or not result.ok or error.code not in REPAIRABLE:
        return False
    # There it mostly means that training ran in inference mode, which data only make worse.
    return error.code != _NEVER or not (result.kind == "keras" or _is_object(result))


def _repair_command(result: ExportResult) -> str:
    if _is_object(result):
        return 'bnopt.export(..., training_mode="eval", data=...)'
    return f"bnopt export {quoted(result.source)} -o model.onnx --training-mode eval --data D"


def _is_object(result: ExportResult) -> bool:
    """Whether a Python object was exported, of which a result has the name of its class.

    What TensorFlow and Keras have as objects becomes a SavedModel; one that was there is a folder.
    """
    name = result.source
    is_class = result.kind == "saved-model" and name.isidentifier() and not Path(name).is_dir()
    return result.kind == "torch" or is_class
