"""An export as JSON, without what all commands have in common."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bnopt.report.exported import all_notes, calibration_of, variables_of
from bnopt.report.json_calibration import calibration_report
from bnopt.results import ExportResult

Report = dict[str, Any]


def exported_report(result: ExportResult) -> Report:
    """What the source was, its variables, and how close the model is to the framework."""
    calibration = calibration_of(result)
    return {
        "source": result.source,
        "from": result.kind,
        "framework": result.framework,
        "variables": [asdict(variable) for variable in variables_of(result)],
        "agreement": [asdict(one) for one in result.agreement],
        "calibration": None if calibration is None else calibration_report(calibration),
        "output": None if result.output is None else str(result.output),
        "notes": list(all_notes(result)),
    }
