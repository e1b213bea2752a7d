"""Each batch norm by itself: its plots, its decision, what was found about it."""

from __future__ import annotations

from collections.abc import Sequence

from bnopt.report.html.budget import DRAWN_LAYERS, points_each, thinned
from bnopt.report.html.layers import Array, Layer, Spread
from bnopt.report.html.markup import TONES, badge, esc, facts, name, short
from bnopt.report.html.plots import histogram, scatter
from bnopt.report.html.wording import (
    decision_word,
    evidence_text,
    range_text,
    verdict_badge,
    worst_badge,
)
from bnopt.report.text import plural

# A page that short is read from top to bottom.
OPEN = 3


def details_section(layers: Sequence[Layer], *, planned: bool) -> str:
    """All of them, folded away unless they are few, and what was left out of the plots."""
    most = points_each(len(layers))
    ranked = sorted(layers, key=lambda layer: (-layer.gravity, layer.number))
    drawn = {layer.number for layer in ranked[:DRAWN_LAYERS]}
    body = [
        _layer(layer, most, layer.number in drawn, planned, is_open=len(layers) <= OPEN)
        for layer in layers
    ]
    plotted = [None if x.measured_mean is None else x.measured_mean.size for x in layers]
    what = "measured against stored numbers"
    return thinned(plotted, most, what, "those with findings") + "".join(body)


def _layer(layer: Layer, most: int, drawn: bool, planned: bool, *, is_open: bool) -> str:
    channels = "" if layer.channels is None else plural(layer.channels, "channel")
    word = "" if layer.site is None else decision_word(layer.site.decision, planned)
    if planned and word:
        word = f"fold would {word} it" if word != "fold" else "fold would take it"
    verdict = "" if layer.statistics is None else verdict_badge(layer.statistics.verdict)
    head = (
        f'<span class="count">{layer.number}</span>{name(layer.name)}'
        f'<span class="count">{esc(channels)}</span><span class="count">{esc(word)}</span>'
        f"{verdict}{worst_badge(layer)}"
    )
    plots = _plots(layer, most) if drawn else ""
    return (
        f'<details class="layer"{" open" if is_open else ""}><summary>{head}</summary>'
        f'<div class="inside" id="bn{layer.number}">{_findings(layer)}{_numbers(layer)}{plots}'
        "</div></details>"
    )


def _findings(layer: Layer) -> str:
    lines: list[str] = []
    for finding in layer.findings:
        evidence = evidence_text(finding)
        numbers = f' <span class="evidence">({esc(evidence)})</span>' if evidence else ""
        sign = badge(TONES[finding.severity], finding.code)
        lines.append(f"<li>{sign} {esc(finding.message)}{numbers}</li>")
    return f'<ul class="list">{"".join(lines)}</ul>' if lines else ""


def _numbers(layer: Layer) -> str:
    items: list[tuple[str, str]] = []
    if layer.site is not None:
        decision = layer.site.decision
        why = esc(getattr(decision, "reason", ""))
        items.append(("Decision", ": ".join(t for t in (why, esc(decision.message)) if t)))
    numbers = layer.statistics
    if numbers is not None:
        for title, array in (
            ("Stored mean", layer.mean),
            ("Stored variance", layer.variance),
            ("Scale", layer.scale),
        ):
            if array is not None:
                items.append((title, esc(range_text(Spread.of(array)))))
        if numbers.epsilon is not None:
            items.append(("Epsilon", short(numbers.epsilon)))
        if numbers.measured is not None:
            each = numbers.measured
            items.append(
                ("Measured on", f"{plural(each.samples, 'sample')}, {each.count} per channel")
            )
    return facts(items)


def _plots(layer: Layer, most: int) -> str:
    pairs = [
        _moment("Mean", layer.mean, layer.measured_mean, most, log=False),
        _moment("Variance", layer.variance, layer.measured_variance, most, log=True),
    ]
    if layer.scale is not None:
        pairs.append(histogram("Scale", layer.scale, log=None, label="γ / √(variance + ε)"))
    body = "".join(f"<div>{plot}</div>" for plot in pairs if plot)
    return f'<div class="plots">{body}</div>' if body else ""


def _moment(
    title: str, stored: Array | None, measured: Array | None, most: int, *, log: bool
) -> str:
    if stored is None:
        return ""
    if measured is not None:
        return scatter(title, stored, measured, log=log, most=most)
    return histogram(f"Stored {title.lower()}", stored, log=log, label=title.lower())
