"""The whole page: one file that needs no other, and may ask for none."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import asdict
from pathlib import PurePath

import bnopt
from bnopt.findings import ModelInfo
from bnopt.report.html import calibration
from bnopt.report.html.behaviour import behaviour_section
from bnopt.report.html.causes import causes_section
from bnopt.report.html.details import details_section
from bnopt.report.html.layers import layers
from bnopt.report.html.markup import esc, facts, name, note, section
from bnopt.report.html.overview import overview
from bnopt.report.html.proof import nodes_section, validation_section
from bnopt.report.html.script import SCRIPT
from bnopt.report.html.sites import site_table
from bnopt.report.html.style import STYLE
from bnopt.report.html.verdict import verdict
from bnopt.report.html.wording import is_planned
from bnopt.report.text import seconds, size
from bnopt.results import CalibrateResult, CheckResult, FoldResult


def page(result: CalibrateResult | CheckResult | FoldResult, *, stopped: bool = False) -> str:
    """A result as a self-contained HTML page; the same result gives the same text.

    Args:
        result: What to show.
        stopped: Whether an error kept the command from finishing.
    """
    if isinstance(result, CalibrateResult):
        parts = calibration.parts(result, _facts(result), stopped)
    else:
        parts = _parts(result, stopped)
    parts.append(section("Notes", "".join(note(esc(text)) for text in result.notes)))
    shown = _model_name(result.info)
    title = f"bnopt {result.command}: {shown}"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy()}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{esc(title)}</title><style>{STYLE}</style></head>\n<body><main>"
        f'<p class="brand"><b>bnopt {result.command}</b> {name(shown)}</p>'
        f"{''.join(parts)}"
        f"<footer>Written by bnopt {esc(bnopt.__version__)}. <code>bnopt explain CODE</code> "
        "documents every code on this page.</footer>"
        f"</main><script>{SCRIPT}</script></body></html>\n"
    )


def _parts(result: CheckResult | FoldResult, stopped: bool) -> list[str]:
    every = layers(result)
    planned = is_planned(result, stopped)
    parts = [verdict(result, stopped), _facts(result)]
    parts.append(section("Findings by cause", causes_section(result, every)))
    if isinstance(result, FoldResult):
        if result.calibration is not None:
            parts.append(calibration.step_section(result.calibration))
        parts.append(section("Validation", validation_section(result.validation)))
        parts.append(section("Nodes", nodes_section(result.node_counts)))
    table = site_table(every, planned=planned, numbers_first=isinstance(result, CheckResult))
    parts.append(section("Overview", overview(every)))
    parts.append(section("All batch norms", table))
    if isinstance(result, CheckResult):
        parts.append(section("Behaviour", behaviour_section(result.behaviour)))
    if every:
        parts.append(section("One by one", details_section(every, planned=planned)))
    return parts


def _policy() -> str:
    """Nothing but this very style and this very script."""
    style, script = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (STYLE, SCRIPT)
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _model_name(info: ModelInfo) -> str:
    return PurePath(info.path).name if info.path else "model in memory"


def _facts(result: CalibrateResult | CheckResult | FoldResult) -> str:
    info = result.info
    opset = ", ".join(
        str(version) if domain == "ai.onnx" else f"{domain} {version}"
        for domain, version in info.opset.items()
    )
    items = [
        ("Model", name(info.path or "in memory")),
        ("Producer", esc(info.producer)),
        ("Opset", esc(opset)),
        ("IR version", str(info.ir_version)),
        ("Nodes", str(info.nodes)),
    ]
    if isinstance(result, CalibrateResult):
        return facts([*items, *calibration.facts_of(result)])
    items.append(("Batch norms", str(result.summary.found)))
    if isinstance(result, CheckResult):
        items += [
            ("Samples of data", str(result.samples or "")),
            ("Allowed", esc(", ".join(result.allowed))),
            ("Time", f"{seconds(result.seconds)} s"),
        ]
    else:
        total = sum(asdict(result.timings).values())
        items += [
            ("Weights", f"{size(result.bytes_before)} → {size(result.bytes_after)}"),
            ("Written to", name(str(result.output)) if result.output is not None else ""),
            ("Inputs bound", esc(", ".join(result.bound))),
            ("Time", f"{seconds(total)} s"),
        ]
    return facts(items)
