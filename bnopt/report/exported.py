"""What every format says of an export: whom it was compared with, what was noted, what is next."""

from __future__ import annotations

from dataclasses import asdict

from bnopt.findings import GRAVITY, REPAIRABLE, Finding
from bnopt.report.text import quoted
from bnopt.results import CalibrateResult, ExportResult


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


def news(result: ExportResult) -> tuple[Finding, ...]:
    """Findings in the converted model that the source has not told as gravely, unrepaired.

    A warning about one layer says nothing of an error that stops the export at another.
    """
    told: dict[str, int] = {}
    for one in result.findings:
        if one.severity != "info" and not is_repaired(result, one):
            told[one.code] = min(GRAVITY[one.severity], told.get(one.code, len(GRAVITY)))
    found = () if result.fold is None else result.fold.findings
    return tuple(one for one in found if GRAVITY[one.severity] < told.get(one.code, len(GRAVITY)))


def all_notes(result: ExportResult) -> tuple[str, ...]:
    """Notes of the conversion, then those of the fold that say something else."""
    of_fold = () if result.fold is None else result.fold.notes
    return tuple(dict.fromkeys((*result.notes, *of_fold)))


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
    if result.output is not None:
        return f"bnopt check {quoted(result.output)} --data D"
    found = (*result.findings, *(() if result.fold is None else result.fold.findings))
    errors = [finding for finding in found if finding.severity == "error"]
    first = next(iter(errors or found), None)
    return "" if first is None else f"bnopt explain {first.code}"
