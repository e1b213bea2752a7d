"""A result as one JSON object; the format is INTERFACE's, extended, never renamed.

Every object has the same keys, null or empty where they do not apply. `ok` is true exactly when the
exit code is 0. JSON has no infinities: they are the strings `"inf"` and `"-inf"`, NaN is `"nan"`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

import bnopt
from bnopt.findings import Finding, Kept, ModelInfo, Site, Summary
from bnopt.report.exported import repaired_word
from bnopt.report.json_audit import behaviour_report, cause_report, statistics_report
from bnopt.report.json_calibration import calibration_report
from bnopt.report.json_export import exported_report
from bnopt.report.json_proof import validation_report
from bnopt.results import (
    CalibrateResult,
    CheckResult,
    ExportResult,
    FoldResult,
    InspectResult,
    ValidateResult,
)

SCHEMA = 1

Report = dict[str, Any]


def report(
    result: CalibrateResult
    | CheckResult
    | ExportResult
    | FoldResult
    | InspectResult
    | ValidateResult,
) -> Report:
    """Any result."""
    if isinstance(result, CalibrateResult):
        return calibrate_report(result)
    if isinstance(result, CheckResult):
        return check_report(result)
    if isinstance(result, ExportResult):
        return export_report(result)
    if isinstance(result, FoldResult):
        return fold_report(result)
    if isinstance(result, InspectResult):
        return inspect_report(result)
    return validate_report(result)


def check_report(result: CheckResult) -> Report:
    """A check; `ok` if no finding is an error that is not allowed."""
    return {
        **empty("check"),
        "ok": result.ok,
        "model": _model(result.info),
        "sites": [_site(site) for site in result.sites],
        "summary": _summary(result.summary),
        "findings": [_finding(finding) for finding in result.findings],
        "causes": [cause_report(cause) for cause in result.causes],
        "statistics": [statistics_report(entry) for entry in result.statistics],
        "behaviour": behaviour_report(result.behaviour),
        "samples": result.samples,
        "allowed": list(result.allowed),
        "seconds": {"check": result.seconds},
        "notes": list(result.notes),
    }


def fold_report(result: FoldResult) -> Report:
    """A fold, done or dry."""
    calibration = result.calibration
    return {
        **empty("fold"),
        "ok": True,
        "model": _model(result.info),
        "sites": [_site(site) for site in result.sites],
        "summary": _summary(result.summary),
        "findings": [_finding(finding) for finding in result.findings],
        "causes": [cause_report(cause) for cause in result.causes],
        "validation": validation_report(result.validation),
        "output": None if result.output is None else str(result.output),
        "dry_run": result.dry_run,
        "nodes": {"before": result.node_counts.before, "after": result.node_counts.after},
        "bytes": {"before": result.bytes_before, "after": result.bytes_after},
        "seconds": asdict(result.timings),
        "calibration": None if calibration is None else calibration_report(calibration),
        "notes": list(result.notes),
    }


def export_report(result: ExportResult) -> Report:
    """An export; findings of the source stand before those of the converted model."""
    made = empty("export") if result.fold is None else fold_report(result.fold)
    findings = [
        {**_finding(one), "repaired": repaired_word(result, one) == "repaired"}
        for one in result.findings
    ]
    findings += [{**one, "repaired": False} for one in made["findings"]]
    return {
        **made,
        **exported_report(result),
        "command": "export",
        "ok": result.ok,
        "model": None if result.info is None else _model(result.info),
        "findings": findings,
        "seconds": asdict(result.timings),
    }


def inspect_report(result: InspectResult) -> Report:
    """What a model holds; not `ok` if a finding is of severity error."""
    return {
        **empty("inspect"),
        "ok": not any(finding.severity == "error" for finding in result.findings),
        "model": _model(result.info),
        "sites": [_site(site) for site in result.sites],
        "summary": _summary(result.summary),
        "findings": [_finding(finding) for finding in result.findings],
        "causes": [cause_report(cause) for cause in result.causes],
        "nodes": {"before": result.node_counts.before, "after": result.node_counts.after},
        "notes": list(result.notes),
    }


def validate_report(result: ValidateResult) -> Report:
    """A comparison; `model` is the original."""
    return {
        **empty("validate"),
        "ok": result.validation.equivalent is True,
        "model": _model(result.original),
        "candidate": _model(result.candidate),
        "validation": validation_report(result.validation),
        "seconds": {"validate": result.validation.seconds},
    }


def calibrate_report(result: CalibrateResult) -> Report:
    """A calibration; `summary` counts the batch norms that were calibrated, too."""
    found, kept = len(result.layers) + len(result.kept), len(result.kept)
    return {
        **empty("calibrate"),
        "ok": True,
        "model": _model(result.info),
        "summary": {**_summary(Summary(found, kept=kept)), "calibrated": len(result.layers)},
        "output": None if result.output is None else str(result.output),
        **calibration_report(result),
    }


def explain_report(entries: Sequence[Report]) -> Report:
    """Documentation of codes: each entry has `code`, `kind`, `severity`, `title` and `doc`."""
    return {**empty("explain"), "ok": True, "entries": list(entries)}


def with_error(content: Report, code: str, message: str) -> Report:
    """The same report, not ok, with what went wrong."""
    return {**content, "ok": False, "error": {"code": code, "message": message}}


def empty(command: str | None) -> Report:
    """A report that says nothing yet; `command` is null if there is no such command."""
    return {
        "schema": SCHEMA,
        "command": command,
        "ok": False,
        "version": bnopt.__version__,
        "model": None,
        "sites": [],
        "summary": _summary(Summary()),
        "findings": [],
        "causes": [],
        "statistics": [],
        "behaviour": None,
        "samples": None,
        "allowed": [],
        "validation": None,
        "output": None,
        "error": None,
        "nodes": None,
        "bytes": None,
        "seconds": None,
        "notes": [],
    }


def dumps(content: Report) -> str:
    """The report as JSON text on one line, ASCII only, without raw NaN or Infinity."""
    return json.dumps(_finite(content), allow_nan=False)


def _model(info: ModelInfo) -> Report:
    return {
        "path": info.path,
        "ir_version": info.ir_version,
        "opset": info.opset,
        "producer": info.producer,
        "nodes": info.nodes,
    }


def _site(site: Site) -> Report:
    decision = site.decision
    kept = isinstance(decision, Kept)
    return {
        "id": site.id,
        "name": site.name,
        "form": site.form,
        "scope": site.scope,
        "channels": site.channels,
        "decision": type(decision).__name__.lower(),
        "into": None if kept else decision.into,
        "reason": decision.reason if kept else None,
        "message": decision.message,
    }


def _summary(summary: Summary) -> Report:
    return {
        "found": summary.found,
        "folded": summary.folded,
        "merged": summary.merged,
        "lowered": summary.lowered,
        "kept": summary.kept,
    }


def _finding(finding: Finding) -> Report:
    return {
        "code": finding.code,
        "severity": finding.severity,
        "site": finding.site,
        "message": finding.message,
        "fix": finding.fix,
        "evidence": finding.evidence,
    }


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else f"{value:g}"
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return {str(key): _finite(entry) for key, entry in items}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in cast("Sequence[object]", value)]
    if value is None or isinstance(value, (str, int, bool)):
        return value
    # Evidence of a rule may hold numpy scalars or paths.
    item = getattr(value, "item", None)
    return _finite(item()) if callable(item) else str(value)
