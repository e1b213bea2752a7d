from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from html_page import Page, rows_of
from html_results import check_result, statistics
from report_records import finding, fold_result

from bnopt.evidence import Statistics
from bnopt.report.html import page
from bnopt.report.html.axes import Axis, linear, logarithmic
from bnopt.report.html.layers import Spread, layers
from bnopt.report.html.plots import histogram, scatter, thin
from bnopt.report.html.style import STYLE

# ------------------------------------------------------------ awkward numbers


@pytest.mark.parametrize(
    "odd", [math.nan, math.inf, -math.inf, 0.0, -1.0, 1e-320, 3.4e38, 1.7e308, -1.7e308]
)
@pytest.mark.parametrize("every", [True, False])
def test_awkward_numbers_break_no_plot(odd: float, every: bool) -> None:
    def spoil(numbers: tuple[float, ...]) -> tuple[float, ...]:
        return (odd,) * len(numbers) if every else (odd, *numbers[1:])

    def worse(number: int) -> Statistics:
        made = statistics(number, 8)
        assert made.measured is not None
        measured = replace(
            made.measured, mean=spoil(made.measured.mean), variance=spoil(made.measured.variance)
        )
        return replace(
            made,
            mean=spoil(made.mean or ()),
            variance=spoil(made.variance or ()),
            scale=spoil(made.scale or ()),
            measured=measured,
        )

    for measured in (True, False):
        odd_ones = tuple(worse(i) for i in range(4))
        if not measured:
            odd_ones = tuple(replace(numbers, measured=None) for numbers in odd_ones)
        parsed = Page(page(check_result(4, 8, statistics=odd_ones)))
        for value in parsed.attributes("d", "x", "y", "height", "width", "transform", "viewBox"):
            # A number is at most a few thousand pixels away.
            assert not re.search(r"nan|inf|e[+-]?\d|\d{6}", value), value


def test_lengths_that_differ_are_not_compared() -> None:
    made = statistics(0, 8)
    assert made.measured is not None
    short = replace(made.measured, mean=(0.0,) * 5)
    for odd in (
        replace(made, mean=(0.0,) * 5),
        replace(made, mean=(0.0,) * 5, measured=short),
        replace(made, measured=short),
    ):
        parsed = Page(page(check_result(1, statistics=(odd,))))
        assert "Mean off by, σ" not in parsed.text
        assert rows_of(parsed, "Batch norm")[0]["Variance ratio"]


@pytest.mark.parametrize("missing", ["mean", "variance", "scale", "epsilon"])
def test_numbers_that_the_model_no_longer_holds(missing: str) -> None:
    odd = replace(statistics(0, 8), **{missing: None})
    assert rows_of(Page(page(check_result(1, statistics=(odd,)))), "Batch norm")


def test_empty_model() -> None:
    parsed = Page(page(check_result(0, findings=(), behaviour=None, notes=())))
    assert "No batch norms found" in parsed.text
    assert "table" not in {tag for tag, _ in parsed.tags}
    assert "svg" not in {tag for tag, a in parsed.tags if a.get("class") != "icon"}


def test_channels_that_are_not_drawn_are_counted() -> None:
    stored = np.array([1.0, 0.0, -1.0, math.nan, 2.0])
    drawn = scatter("Variance", stored, stored, log=True, most=9)
    assert "3 channels not drawn: not finite, too large, or not above 0" in drawn
    assert "2 channels" in drawn
    huge = np.array([1.0, math.nan, 1e200, 2.0])
    drawn = histogram("Scale", huge, log=None, label="s")
    assert "2 channels not drawn: not finite, or too large" in drawn
    assert "2 channels, from 1 to 2" in drawn


# ------------------------------------------------------------ plots


def test_points_lie_where_the_axes_say() -> None:
    numbers = np.array([1.0, 10.0, 100.0])
    drawn = scatter("Variance", numbers, numbers, log=True, most=9)
    dots = re.search(r'class="dots" d="(.*?)"', drawn)
    assert dots is not None
    points = [tuple(map(float, p)) for p in re.findall(r"M([\d.]+) ([\d.]+)h0", dots[1])]
    xs, ys = zip(*sorted(points), strict=True)
    # Decades are equally far apart, and measured = stored lies on the line from corner to corner.
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.15)
    for x, y in zip(xs, ys, strict=True):
        assert (x - 46) / (270 - 46) == pytest.approx((178 - y) / (178 - 24), abs=0.01)


def test_thinning_keeps_the_worst() -> None:
    off = np.arange(1000.0)
    chosen = thin(off, 100)
    assert len(set(chosen.tolist())) == 100
    assert set(range(950, 1000)) <= set(chosen.tolist())
    assert min(chosen.tolist()) == 0
    assert sorted(thin(off, 1000).tolist()) == list(range(1000))


def test_histogram_counts_every_channel() -> None:
    drawn = histogram("Scale", np.array([0.0] * 30 + [1.0] * 10), log=None, label="s")
    bars = re.search(r'class="bars" d="(.*?)"', drawn)
    assert bars is not None
    heights = [178 - float(top) for top in re.findall(r"178V([\d.]+)h", bars[1])]
    assert len(heights) == 2
    assert heights[0] == pytest.approx(3 * heights[1], rel=0.01)
    assert "40 channels, from 0 to 1" in drawn


def test_histogram_of_wide_positive_numbers_is_logarithmic() -> None:
    wide = histogram("Scale", np.array([1e-3, 1.0, 1e3]), log=None, label="s")
    assert ">100</text>" in wide or ">1e3</text>" in wide or ">1000</text>" in wide
    assert ">0.001</text>" in wide or ">0.01</text>" in wide


@pytest.mark.parametrize(
    ("numbers", "make"),
    list(
        product(
            ([1.0], [0.0], [-5.0, 5.0], [1e-30, 1e30], [1000.0, 1000.001], [0.31, 0.42], [1e-200]),
            (linear, logarithmic),
        )
    ),
)
def test_axes_have_marks_with_different_labels(numbers: list[float], make: object) -> None:
    axis: Axis = make(np.array(numbers), 0.0, 100.0)  # type: ignore[operator]
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 9
    assert len({label for _, label in ticks}) == len(ticks)
    assert all(0 <= place <= 100 for place, _ in ticks)


def test_spread() -> None:
    assert Spread.of(np.array([3.0, 1.0, math.nan, 2.0])) == Spread(1.0, 2.0, 3.0, 1)
    assert Spread.of(np.array([])) is None
    assert Spread.of(None) is None


def test_layers_have_their_gravest_finding_first() -> None:
    odd = (finding("info", code="a"), finding("error", code="b"))
    found = layers(fold_result(findings=odd))
    assert [f.code for f in found[0].findings] == ["b", "a"]
    assert [layer.gravity for layer in found] == [3, 0, 0]


def test_overview_tells_of_what_lies_off_its_axis() -> None:
    low = tuple(replace(statistics(i, 4), variance=(1.0, 1e-30, 0.0, 2.0)) for i in range(4))
    assert "Variances below 1e−9 are drawn as that" in page(check_result(4, statistics=low))
    assert "are drawn as that" not in page(check_result(4))


def test_overview_of_a_few_layers_is_left_out() -> None:
    assert 'class="overview"' in page(check_result(4))
    assert 'class="overview"' not in page(check_result(3))


# ------------------------------------------------------------ style


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear_parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear_parts[0] + 0.7152 * linear_parts[1] + 0.0722 * linear_parts[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_contrast(scheme: int) -> None:
    block = re.findall(r":root\{(.*?)\}", STYLE, re.S)[scheme]
    colours = dict(re.findall(r"--([\w-]+):(#[0-9a-f]+)", block))
    for text in ("ink", "dim", "link", "good", "warn", "bad", "info"):
        for ground in ("page", "box", "soft"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for tone in ("good", "warn", "bad", "info"):
        for text in ("ink", "dim", tone):
            assert contrast(colours[text], colours[f"{tone}-soft"]) >= 4.5, (text, tone)
    # WCAG 2.1, 1.4.11: graphical objects need 3:1.
    for mark in ("stored", "measured", "bad", "info"):
        assert contrast(colours[mark], colours["box"]) >= 3, mark
