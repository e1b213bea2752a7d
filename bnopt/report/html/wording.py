"""Decisions, verdicts and findings in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from bnopt.findings import Decision, Finding, Folded, Kept
from bnopt.report.html.layers import Layer, Spread
from bnopt.report.html.markup import TONES, Tone, badge, esc, name, short
from bnopt.report.text import clean
from bnopt.results import CheckResult, FoldResult

_PLANNED = {"folded": "fold", "merged": "merge", "lowered": "lower", "kept": "keep"}
_VERDICTS: dict[str, Tone] = {"consistent": "good", "not-enough-data": "none"}
# Longer lists would bury the numbers that count.
_EVIDENCE_ITEMS = 8
_EVIDENCE_LENGTH = 240


def is_planned(result: CheckResult | FoldResult, stopped: bool) -> bool:
    """Whether the decisions are what `fold` would do, not what it did."""
    return isinstance(result, CheckResult) or result.dry_run or stopped


def decision_word(decision: Decision, planned: bool) -> str:
    """`folded` for what was done, `fold` for what would be."""
    word = type(decision).__name__.lower()
    return _PLANNED[word] if planned else word


def reason(decision: Decision) -> str:
    """As HTML: why it stays, or into what it went."""
    if isinstance(decision, Kept):
        return (
            f'<code>{esc(decision.reason)}</code><span class="sub">{esc(decision.message)}</span>'
        )
    add = " + Add" if isinstance(decision, Folded) and decision.leaves_add else ""
    return f"into {name(decision.into)}{add}"


def verdict_badge(verdict: str) -> str:
    """What the data says about one batch norm; empty without data."""
    return badge(_VERDICTS.get(verdict, "bad"), verdict) if verdict else ""


def worst_badge(layer: Layer) -> str:
    """The gravest finding of a batch norm; empty without one."""
    if not layer.findings:
        return ""
    first = layer.findings[0]
    more = {finding.code for finding in layer.findings} - {first.code}
    suffix = f' <span class="count">+{len(more)}</span>' if more else ""
    return badge(TONES[first.severity], first.code) + suffix


def range_text(spread: Spread | None) -> str:
    """`0.1 to 3`, and how many are left out because they are not finite."""
    if spread is None:
        return "–"
    strange = f"{spread.strange} not finite" if spread.strange else ""
    if math.isnan(spread.median):
        return strange
    low, high = short(spread.low), short(spread.high)
    text = low if low == high else f"{low} to {high}"
    return f"{text}, {strange}" if strange else text


def evidence_text(finding: Finding) -> str:
    """The numbers behind a finding, shortened."""
    text = "; ".join(f"{key} {_value(value)}" for key, value in finding.evidence.items())
    text = clean(text)
    return text if len(text) <= _EVIDENCE_LENGTH else f"{text[: _EVIDENCE_LENGTH - 2]} …"


def _value(value: object) -> str:
    if isinstance(value, float):
        return short(value, 4)
    if isinstance(value, (list, tuple)):
        items = cast("Sequence[object]", value)
        shown = ", ".join(_value(item) for item in items[:_EVIDENCE_ITEMS])
        more = f", … ({len(items)})" if len(items) > _EVIDENCE_ITEMS else ""
        return f"[{shown}{more}]"
    if isinstance(value, dict):
        pairs = cast("dict[object, object]", value).items()
        shown = ", ".join(f"{key} {_value(item)}" for key, item in list(pairs)[:_EVIDENCE_ITEMS])
        return f"({shown})"
    # Evidence of a rule may hold numpy scalars.
    item = getattr(value, "item", None)
    return _value(item()) if callable(item) else str(value)
