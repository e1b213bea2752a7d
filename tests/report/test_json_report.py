"""The JSON of INTERFACE, key by key."""

from __future__ import annotations

import json as standard
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from report_records import (
    BAD,
    GOOD,
    STATISTICS,
    VARIABLES,
    calibrate_result,
    check_result,
    export_result,
    finding,
    fold_result,
    inspect_result,
    merged_site,
    source_finding,
    validate_result,
)

from bnopt import __version__
from bnopt.report import json

KEYS = {
    "schema",
    "command",
    "ok",
    "version",
    "model",
    "sites",
    "summary",
    "findings",
    "causes",
    "statistics",
    "behaviour",
    "samples",
    "allowed",
    "validation",
    "output",
    "error",
    "nodes",
    "bytes",
    "seconds",
    "notes",
}


def parsed(report: dict[str, Any]) -> dict[str, Any]:
    """The report as a strict reader sees it: no NaN, no Infinity, one line."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    text = json.dumps(report)
    assert "\n" not in text
    assert text.isascii()
    return standard.loads(text, parse_constant=refuse)


def test_fold() -> None:
    report = parsed(json.report(fold_result()))
    assert report.keys() >= KEYS
    assert report["schema"] == 1
    assert report["command"] == "fold"
    assert report["ok"] is True
    assert report["version"] == __version__
    assert report["model"] == {
        "path": "/models/net.onnx",
        "ir_version": 8,
        "opset": {"ai.onnx": 17, "com.microsoft": 1},
        "producer": "pytorch 2.5",
        "nodes": 176,
    }
    assert report["sites"][0] == {
        "id": "main:y0",
        "name": "bn0",
        "form": "batch_normalization",
        "scope": "main",
        "channels": 64,
        "decision": "folded",
        "into": "conv0",
        "reason": None,
        "message": "",
    }
    assert report["sites"][2]["decision"] == "kept"
    assert report["sites"][2]["into"] is None
    assert report["sites"][2]["reason"] == "not-linear"
    assert report["summary"] == {"found": 3, "folded": 2, "merged": 0, "lowered": 0, "kept": 1}
    assert report["output"] == "/models/net.folded.onnx"
    assert report["error"] is None
    assert report["nodes"]["before"]["BatchNormalization"] == 3
    assert report["nodes"]["after"]["BatchNormalization"] == 1
    assert report["bytes"] == {"before": 97_500_000, "after": 97_300_000}
    assert report["seconds"] == {
        "load": 0.5,
        "calibrate": 0.0,
        "plan": 0.01,
        "apply": 0.02,
        "validate": 12.3,
        "save": 0.4,
    }


def test_validation() -> None:
    report = parsed(json.report(validate_result(GOOD, BAD)))
    assert report.keys() >= KEYS
    assert report["ok"] is False
    assert report["candidate"]["path"] == "/models/other.onnx"
    verdict = report["validation"]
    assert verdict["equivalent"] is False
    assert verdict["providers"] == ["cpu"]
    assert verdict["proofs"] == [
        {
            "name": "cpu",
            "session_provider": "CPUExecutionProvider",
            "assignment": {"CPUExecutionProvider": 70},
        }
    ]
    good, bad = verdict["outputs"]
    assert good["snr_db"] == "inf"
    assert good["original_error"] is None
    assert bad["worst"]["index"] == [0, 3, 1, 2]
    assert bad["worst"]["channel"] == 3
    assert {"name", "max_abs", "max_rel", "ulp", "snr_db", "tolerance"} <= good.keys()


def test_inspect_with_an_error_finding_is_not_ok() -> None:
    assert parsed(json.report(inspect_result()))["ok"] is True
    assert parsed(json.report(inspect_result(findings=(finding("warning"),))))["ok"] is True
    report = parsed(json.report(inspect_result(findings=(finding(),))))
    assert report["ok"] is False
    assert report["findings"][0]["evidence"] == {"value": "nan"}


def test_check() -> None:
    report = parsed(json.report(check_result(2, allowed=("non-finite",))))
    assert report.keys() == KEYS
    assert report["command"] == "check"
    assert report["ok"] is False
    assert report["error"] is None
    assert report["causes"] == [
        {
            "code": "training-mode",
            "severity": "error",
            "found": 2,
            "of": 26,
            "message": "2 of 26 batch norms run in training mode: eval() was not called",
            "fix": "call eval()",
        }
    ]
    assert [entry["site"] for entry in report["findings"]] == ["main:y0", "main:y1"]
    assert report["statistics"] == [
        {
            "site": "main:y0",
            "gamma": [1.0, 2.0],
            "beta": None,
            "mean": [0.0, 0.5],
            "variance": [1.0, "inf"],
            "epsilon": 1e-3,
            "scale": None,
            "measured": {
                "samples": 64,
                "count": 4096,
                "mean": [0.1, 0.2],
                "variance": [1.1, 1.2],
            },
            "verdict": "stale",
        }
    ]
    assert report["behaviour"] == {
        "batch": 8,
        "outputs": [
            {
                "name": "y",
                "per_sample": True,
                "noise": 1e-7,
                "alone": 2e-7,
                "neighbours": None,
                "spread": 0.5,
            }
        ],
        "notes": ["a note"],
    }
    assert report["samples"] == 64
    assert report["allowed"] == ["non-finite"]
    assert report["seconds"] == {"check": 1.25}
    assert report["notes"] == ["a note"]
    assert len(report["sites"]) == report["summary"]["found"] == 26


def test_check_that_was_not_run() -> None:
    bare = replace(STATISTICS, measured=None, verdict="")
    report = parsed(json.report(check_result(behaviour=None, samples=0, statistics=(bare,))))
    assert report["ok"] is True
    assert report["behaviour"] is None
    assert report["samples"] == 0
    assert report["statistics"][0]["measured"] is None
    assert report["statistics"][0]["verdict"] is None


def test_allowed_errors_are_ok() -> None:
    assert parsed(json.report(check_result(2, allowed=("training-mode",))))["ok"] is True
    assert parsed(json.report(check_result(2, allowed=("all",))))["ok"] is True


def test_every_report_has_the_same_keys() -> None:
    results = (check_result(), inspect_result(), json.explain_report([]), json.empty(None))
    for each in results:
        report = each if isinstance(each, dict) else json.report(each)
        assert report.keys() - {"entries"} == KEYS
    assert json.report(fold_result()).keys() == KEYS | {"dry_run", "calibration"}


def test_merged() -> None:
    entry = parsed(json.report(fold_result(sites=(merged_site(),))))["sites"][0]
    assert (entry["decision"], entry["into"]) == ("merged", "bn8")


@pytest.mark.parametrize("command", ["fold", None])
def test_error(command: str | None) -> None:
    report = parsed(json.with_error(json.empty(command), "load", "no such file: x"))
    assert report.keys() == KEYS
    assert report["ok"] is False
    assert report["error"] == {"code": "load", "message": "no such file: x"}
    assert report["sites"] == []
    assert report["validation"] is None


def test_export() -> None:
    made = export_result(findings=(source_finding(),), fold=fold_result(findings=(finding(),)))
    report = parsed(json.report(made))
    assert report.keys() >= KEYS
    assert report["command"] == "export"
    assert report["ok"] is True
    assert [found["code"] for found in report["findings"]] == ["never-updated", "training-mode"]
    assert report["notes"] == [*made.notes, "weight 'w' was copied: another node reads it"]
    assert report["seconds"]["load"] == 8.0
    assert [one["batch"] for one in report["agreement"]] == [1, 8]
    assert report["calibration"] is None


def test_numbers_of_an_export_that_are_none() -> None:
    """JSON has no NaN and no infinity; a strict reader must take it all the same."""
    numbers = (float("nan"), float("inf"), float("-inf"), np.float32("nan"), np.float64("-inf"))
    variables = tuple(replace(VARIABLES[0], low=each, high=each) for each in numbers)
    bad = replace(export_result().agreement[0], max_abs=float("nan"), max_rel=float("inf"))
    report = parsed(json.report(export_result(variables=variables, agreement=(bad,))))
    assert [each["low"] for each in report["variables"]] == ["nan", "inf", "-inf", "nan", "-inf"]
    assert [each["high"] for each in report["variables"]] == ["nan", "inf", "-inf", "nan", "-inf"]
    assert (report["agreement"][0]["max_abs"], report["agreement"][0]["max_rel"]) == ("nan", "inf")
    assert report["variables"][0]["shape"] == [64]


def test_export_has_the_calibration_of_a_refused_fold() -> None:
    repair = calibrate_result()
    for changes in ({"calibration": repair}, {"fold": fold_result(calibration=repair)}):
        report = parsed(json.report(export_result(**changes)))
        assert report["calibration"]["samples"] == 500


def test_numbers_of_numpy_and_hostile_names() -> None:
    odd = finding(evidence={"a": np.float32(1.5), "b": np.int64(2), "c": (float("-inf"),)})
    report = parsed(json.report(inspect_result(findings=(odd,))))
    assert report["findings"][0]["evidence"] == {"a": 1.5, "b": 2, "c": ["-inf"]}
    named = finding(message="\x1b[31m\n\ud800")
    text = json.dumps(json.report(inspect_result(findings=(named,))))
    assert "\\u001b[31m\\n\\ud800" in text
