"""The top of the page of a calibration: how many, how far off, what next."""

from __future__ import annotations

from collections import Counter

from bnopt.report.html.markup import Tone, esc, icon, name, sentence, short
from bnopt.report.recalibrated import (
    counted,
    how,
    next_command,
    proven,
    stored_none,
    were_right,
    worst_first,
)
from bnopt.report.text import plural
from bnopt.results import CalibrateResult


def verdict(result: CalibrateResult, stopped: bool) -> str:
    """The verdict, with the batch norm that was furthest off."""
    tone, title = _headline(result, stopped)
    parts = [f"<h1>{esc(title)}</h1>"]
    if result.layers and not were_right(result):
        parts.append(_furthest(result))
    command = "" if stopped else next_command(result)
    if command:
        parts.append(f'<p class="fix"><b>Next:</b> <code>{esc(command)}</code></p>')
    parts += [f'<p class="basis">{esc(text)}</p>' for text in _basis(result)]
    return f'<div class="verdict {tone}">{icon(tone)}{"".join(parts)}</div>'


def _headline(result: CalibrateResult, stopped: bool) -> tuple[Tone, str]:
    title = f"Calibrated {counted(result)}"
    if not result.layers and not result.kept:
        return "none", "No batch norms found, nothing to calibrate"
    proof = result.proof
    if proof is not None and proof.equivalent is False:
        return "bad", f"Rewritten batch norms are NOT equivalent. {title}"
    if stopped:
        return "bad", f"Stopped, nothing written. {title}"
    if were_right(result):
        title += "; the statistics were already the data's"
    if proof is not None and proof.equivalent is None:
        return "warn", f"{title}; rewriting not proven"
    return ("warn" if result.kept else "good"), title


def _furthest(result: CalibrateResult) -> str:
    first = worst_first(result.layers)[0]
    off = "" if first.off is None else f" by {short(first.off)} standard deviations"
    what = "had no stored statistics" if stored_none(first) else f"was off{off}"
    label = "Without statistics" if stored_none(first) else "Furthest off"
    return f'<p class="lead"><small>{label}</small>{name(first.name)} {esc(what)}</p>'


def _basis(result: CalibrateResult) -> list[str]:
    texts: list[str] = []
    if result.layers:
        texts.append(sentence(how(result)))
    without = sum(map(stored_none, result.layers))
    if without:
        texts.append(f"{plural(without, 'batch norm')} had no stored statistics.")
    if result.proof is not None:
        texts.append(sentence(proven(result.proof)))
    reasons = Counter(kept.reason for kept in result.kept)
    if reasons:
        counts = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
        texts.append(f"{plural(len(result.kept), 'batch norm')} kept: {counts}.")
    return texts
