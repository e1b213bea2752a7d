"""What a page says of its model in small print: what it is, what made it, what became of it."""

from __future__ import annotations

from dataclasses import asdict

from bnopt.findings import ModelInfo
from bnopt.report.html.markup import esc, facts, name
from bnopt.report.text import seconds, size
from bnopt.results import CheckResult, FoldResult

Facts = list[tuple[str, str]]
"""Terms and their values, the values as HTML."""


def model_facts(info: ModelInfo) -> Facts:
    """What a model says of itself."""
    return [("Model", name(info.path or "in memory")), *format_facts(info)]


def format_facts(info: ModelInfo) -> Facts:
    """The same without where it is."""
    opset = ", ".join(
        str(version) if domain == "ai.onnx" else f"{domain} {version}"
        for domain, version in info.opset.items()
    )
    return [
        ("Producer", esc(info.producer)),
        ("Opset", esc(opset)),
        ("IR version", str(info.ir_version)),
        ("Nodes", str(info.nodes)),
    ]


def fold_facts(result: FoldResult) -> Facts:
    """What a fold found, and what it made of it."""
    return [
        ("Batch norms", str(result.summary.found)),
        ("Weights", f"{size(result.bytes_before)} → {size(result.bytes_after)}"),
    ]


def written_fact(output: object) -> tuple[str, str]:
    """Where the result is."""
    return "Written to", "" if output is None else name(str(output))


def audit_facts(result: CheckResult | FoldResult) -> str:
    """The facts of a check or a fold."""
    items = model_facts(result.info)
    if isinstance(result, CheckResult):
        items += [
            ("Batch norms", str(result.summary.found)),
            ("Samples of data", str(result.samples or "")),
            ("Allowed", esc(", ".join(result.allowed))),
            ("Time", f"{seconds(result.seconds)} s"),
        ]
    else:
        items += [
            *fold_facts(result),
            written_fact(result.output),
            ("Inputs bound", esc(", ".join(result.bound))),
            ("Time", f"{seconds(sum(asdict(result.timings).values()))} s"),
        ]
    return facts(items)
