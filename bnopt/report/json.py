"""A result as one JSON object; the format is INTERFACE's, extended, never renamed.

Every object has the same keys, null or empty where they do not apply. `ok` is true exactly when the
exit code is 0. JSON has no infinities: they are the strings `"inf"` and `"-inf"`, NaN is `"nan"`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, cast

import bnopt
from bnopt.findings import (
    Finding,
    Kept,
    ModelInfo,
    OutputComparison,
    Site,
    Summary,
    Validation,
    Worst,
)
from bnopt.report.json_audit import behaviour_report, cause_report, statistics_report
from bnopt.results import CheckResult, FoldResult, InspectResult, ValidateResult

SCHEMA = 1

Report = dict[str, Any]


def report(result: CheckResult | FoldResult | InspectResult | ValidateResult) -> Report:
    """Any result."""
    if isinstance(result, CheckResult):
        return check_report(result)
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
    seconds = result.timings
    return {
        **empty("fold"),
        "ok": True,
        "model": _model(result.info),
        "sites": [_site(site) for site in result.sites],
        "summary": _summary(result.summary),
        "findings": [_finding(finding) for finding in result.findings],
        "causes": [cause_report(cause) for cause in result.causes],
        "validation": _validation(result.validation),
        "output": None if result.output is None else str(result.output),
        "dry_run": result.dry_run,
        "nodes": {"before": result.node_counts.before, "after": result.node_counts.after},
        "bytes": {"before": result.bytes_before, "after": result.bytes_after},
        "seconds": {
            "load": seconds.load,
            "plan": seconds.plan,
            "apply": seconds.apply,
            "validate": seconds.validate,
            "save": seconds.save,
        },
        "notes": list(result.notes),
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
        "validation": _validation(result.validation),
        "seconds": {"validate": result.validation.seconds},
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


def _validation(validation: Validation | None) -> Report | None:
    if validation is None:
        return None
    return {
        "equivalent": validation.equivalent,
        "providers": [proof.name for proof in validation.providers],
        "proofs": [
            {
                "name": proof.name,
                "session_provider": proof.session_provider,
                "assignment": dict(proof.assignment),
            }
            for proof in validation.providers
        ],
        "oracle": validation.oracle,
        "outputs": [_output(output) for output in validation.outputs],
        "runs": validation.runs,
        "batch_sizes": list(validation.batch_sizes),
        "notes": list(validation.notes),
        "seconds": validation.seconds,
    }


def _output(output: OutputComparison) -> Report:
    return {
        "name": output.name,
        "equivalent": output.equivalent,
        "max_abs": output.max_abs,
        "max_rel": output.max_rel,
        "ulp": output.ulp,
        "snr_db": output.snr_db,
        "tolerance": output.tolerance,
        "original_error": output.original_error,
        "noise_floor": output.noise_floor,
        "worst": _worst(output.worst),
        "message": output.message,
    }


def _worst(worst: Worst | None) -> Report | None:
    if worst is None:
        return None
    return {
        "index": list(worst.index),
        "channel": worst.channel,
        "original": worst.original,
        "candidate": worst.candidate,
        "reference": worst.reference,
        "run": worst.run,
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
