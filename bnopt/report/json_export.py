"""An export as JSON, without what all commands have in common."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bnopt.report.json_calibration import calibration_report
from bnopt.results import ExportResult

Report = dict[str, Any]


def exported_report(result: ExportResult) -> Report:
    """What the source was, its variables, and how close the model is to the framework."""
    return {
        "source": result.source,
        "from": result.kind,
        "framework": result.framework,
        "variables": [asdict(variable) for variable in result.variables],
        "agreement": [asdict(one) for one in result.agreement],
        "calibration": None
        if result.calibration is None
        else calibration_report(result.calibration),
        "output": None if result.output is None else str(result.output),
        "notes": list(result.notes),
    }
