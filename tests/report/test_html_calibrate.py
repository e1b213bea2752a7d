"""The page of a calibration."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from html_page import Page, rows_of
from html_results import calibration, recalibrated
from report_records import BAD, GOOD, INFO, KEPT, fold_result, validation

from bnopt.evidence import Recalibrated, Uncalibrated
from bnopt.findings import ProviderProof, Validation
from bnopt.report.html import page, write
from bnopt.report.html.axes import Axis

EVIL = "<script>alert(1)</script>\"'&\x1b[31m\u202e\udc80</td>"

ALL = "Calibrated 6 of 6 batch norms from 500 samples"


def headline(text: str) -> tuple[str, str]:
    tone = next(
        value for value in Page(text).attributes("class") if value.startswith("verdict")
    ).removeprefix("verdict ")
    found = re.search(r"<h1>(.*?)</h1>", text)
    assert found is not None
    return tone, Page(found[0]).text


# ------------------------------------------------------------ the page


def test_page_asks_for_nothing_and_its_links_have_targets() -> None:
    text = page(calibration(7, right=2, none=1, kept=(KEPT,), proof=validation(GOOD)))
    parsed = Page(text)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|@font-face", text)
    assert parsed.attributes("src", "xlink:href", "style", "onclick", "onload") == []
    ids = parsed.attributes("id")
    assert len(ids) == len(set(ids)) == 7
    assert {value[1:] for value in parsed.attributes("href")} == set(ids)
    assert "<title>bnopt calibrate: net.onnx</title>" in text
    assert page(calibration(7)) == page(calibration(7))


def test_write(tmp_path: Path) -> None:
    target = write(calibration(2), tmp_path / "r.html")
    assert target.read_text(encoding="utf-8") == page(calibration(2))
    stopped = write(calibration(2), tmp_path / "r.html", stopped=True)
    assert "Stopped, nothing written" in stopped.read_text(encoding="utf-8")


def test_sections_in_order() -> None:
    made = calibration(6, right=1, none=1, kept=(KEPT,), proof=validation(GOOD))
    text = Page(page(made)).text
    order = [
        "Calibrated 6 of 7 batch norms from 500 samples",
        "Furthest off",
        "Next: bnopt fold /models/net.calibrated.onnx",
        "Method precise: 500 samples in batches of 32, shuffled with seed 7, run once on cpu with",
        "1 batch norm had no stored statistics.",
        "Rewritten batch norms reproduce the original on its own batch.",
        "1 batch norm kept: data-type 1.",
        "Overview",
        "All calibrated batch norms",
        "Left as they were",
        "Proof of the rewriting",
        "One by one",
        "Notes",
        "a note",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("changes", "stopped", "tone", "title"),
    [
        ({}, False, "good", ALL),
        ({"kept": (KEPT,)}, False, "warn", "Calibrated 6 of 7 batch norms from 500 samples"),
        ({"right": 6}, False, "good", f"{ALL}; the statistics were already the data's"),
        ({"right": 5}, False, "good", ALL),
        ({"proof": validation(GOOD)}, False, "good", ALL),
        ({"proof": validation(BAD)}, True, "bad",
         f"Rewritten batch norms are NOT equivalent. {ALL}"),
        ({"proof": Validation(None, "none")}, False, "warn", f"{ALL}; rewriting not proven"),
        ({}, True, "bad", f"Stopped, nothing written. {ALL}"),
        ({"count": 0}, False, "none", "No batch norms found, nothing to calibrate"),
        ({"count": 0, "kept": (KEPT,)}, False, "warn",
         "Calibrated 0 of 1 batch norm from 500 samples"),
    ],
)  # fmt: skip
def test_verdict(changes: dict[str, object], stopped: bool, tone: str, title: str) -> None:
    assert headline(page(calibration(**changes), stopped=stopped)) == (tone, title)  # type: ignore[arg-type]


def test_verdict_names_the_worst() -> None:
    layers = (recalibrated(0), replace(recalibrated(1), name="worst", off=77.0))
    assert "Furthest off" in page(calibration(layers=layers))
    assert "worst was off by 77 standard deviations" in Page(page(calibration(layers=layers))).text
    none = Page(page(calibration(2, none=2))).text
    assert "BatchNormalization had no stored statistics" in none
    assert "2 batch norms had no stored statistics." in none
    right = Page(page(calibration(2, right=2))).text
    assert "Furthest off" not in right
    assert "no stored statistics" not in right


def test_next_step_is_left_out_where_it_would_not_help() -> None:
    assert "Next:" not in Page(page(calibration(2), stopped=True)).text
    assert "Next:" not in Page(page(calibration(2, proof=validation(BAD)))).text
    assert "bnopt calibrate /models/net.onnx --data D -o OUT" in page(calibration(2, output=None))


def test_facts() -> None:
    text = Page(page(calibration(2, resumed=3))).text
    for part in (
        "Samples of data500",
        "Methodprecise",
        "Enginelocal",
        "Providercpu",
        "Batch size32",
        "Ordershuffled, seed 7",
        "Passes1",
        "Batches resumed3",
        "Written to/models/net.calibrated.onnx",
        "Time13.5 s (load 0.50, rewrite 0.25, measure 12.3, save 0.40)",
    ):
        assert part in text
    other = Page(page(calibration(2, batch_size=None, seed=None, output=None))).text
    assert "Batch sizeas it came" in other
    assert "Orderas it came" in other
    assert "Written to" not in other
    assert "resumed" not in other


# ------------------------------------------------------------ tables


def test_row_for_each_batch_norm() -> None:
    layer = Recalibrated(
        "main:y", "bn", "batch_normalization", 3, 98_000, 1e-3, (0.0, 0.0), (1.0, 1.0),
        (4.0, -8.0), (0.5, 2.0), shift=(2.0, -4.0), ratio=(0.5, 4.0), off=2.5,
    )  # fmt: skip
    rows = rows_of(Page(page(calibration(layers=(layer, recalibrated(1, 2, state="none"))))), "#")
    assert rows[0] == {
        "#": "1",
        "Batch norm": "bn",
        "Off by, σ": "2.5",
        "Mean off by, σ": "3, max 4",
        "Deviation ratio": "0.5 to 4",
        "Old variance": "1",
        "New variance": "0.5 to 2",
        "Old mean": "0",
        "New mean": "−8 to 4",
        "Channels": "2",
        "Numbers": "98000",
        "Depth": "3",
        "Form": "BatchNorm",
    }
    none = rows[1]
    assert none["Old variance"] == none["Old mean"] == "none stored"
    assert [none[k] for k in ("Off by, σ", "Mean off by, σ", "Deviation ratio")] == ["–"] * 3
    assert none["Form"] == "batch statistics"
    assert none["New mean"] != "–"


def test_shifts_that_are_not_finite_are_counted() -> None:
    layer = replace(recalibrated(0, 3), shift=(math.nan, 2.0, -1.0))
    row = rows_of(Page(page(calibration(layers=(layer,)))), "#")[0]
    assert row["Mean off by, σ"] == "1 to 2, 1 not finite"


def test_what_was_kept() -> None:
    kept = (KEPT, Uncalibrated("main:q", "q", "decomposed", "not-measurable", "stands in a Loop"))
    rows = rows_of(Page(page(calibration(1, kept=kept))), "Why")
    assert list(rows[0].values()) == ["bn_z", "data-type", "'bn_z' is of no type", "BatchNorm"]
    assert list(rows[1].values()) == ["q", "not-measurable", "stands in a Loop", "decomposed"]
    assert "Left as they were" not in page(calibration(1))


# ------------------------------------------------------------ plots


def test_plots_show_old_against_new() -> None:
    text = page(calibration(1))
    assert text.count('<svg class="plot"') == 3
    assert ">old</text>" in text
    assert ">new</text>" in text
    assert "Mean: new over old, 64 channels" in text
    assert "Variance: new over old, 64 channels" in text
    assert "Shift of the mean: distribution over 64 channels" in text
    assert "measured" not in Page(text).text


def test_without_old_statistics_the_new_ones_are_plotted() -> None:
    text = page(calibration(1, none=1))
    assert text.count('<svg class="plot"') == 2
    assert "New mean: distribution over 64 channels" in text
    assert "New variance: distribution over 64 channels" in text


def test_details_say_how_far_off_and_are_open_where_they_are_few() -> None:
    made = calibration(3, right=1, none=1)
    text = page(made)
    heads = re.findall(r'<details class="layer" open><summary>(.*?)</summary>', text)
    assert [Page(head).text[len("1/stage0/block0/bn/BatchNormalization") :] for head in heads] == [
        "64 channelsalready right",
        f"64 channelsoff by {made.layers[1].off:.3g} σ",
        "64 channelsnone stored",
    ]
    facts = Page(text).text[Page(text).text.index("One by one") :]
    assert facts.count("Old meannone stored") == facts.count("Old variancenone stored") == 1
    assert "Old mean0New mean" in facts
    assert '<details class="layer" open' not in page(calibration(4))


def test_points_lie_where_the_axes_say() -> None:
    layer = replace(recalibrated(0, 3), old_mean=(1.0, 2.0, 3.0), mean=(1.0, 2.0, 3.0))
    dots = re.search(r'class="dots" d="(.*?)"', page(calibration(layers=(layer,))))
    assert dots is not None
    for x, y in re.findall(r"M([\d.]+) ([\d.]+)h0", dots[1]):
        assert (float(x) - 46) / (270 - 46) == pytest.approx(
            (178 - float(y)) / (178 - 24), abs=0.01
        )


def test_overview() -> None:
    text = page(calibration(5, right=2, none=1))
    for part in ("Off by: what", "Mean: |new − old|", "Variance, old and new"):
        assert part in text
    strip = re.findall(r'<path class="(lowered|warning|kept)" d="(.*?)"', text)
    assert [(kind, path.count("M")) for kind, path in strip] == [
        ("lowered", 2), ("warning", 2), ("kept", 1),
    ]  # fmt: skip
    assert "none stored" in text
    assert "median, old" in text
    assert 'class="overview"' not in page(calibration(3))


def test_overview_shows_shifts_of_either_sign_alike() -> None:
    def drawn(sign: float) -> str:
        layers = (replace(recalibrated(i, 2), shift=(sign * 5.0, sign * 9.0)) for i in range(4))
        text = page(calibration(layers=tuple(layers)))
        return text[text.index("Mean: |new") : text.index("Variance, old and new")]

    assert drawn(-1.0) == drawn(1.0)


def test_overview_of_batch_statistics_shows_the_new_ones() -> None:
    text = page(calibration(5, none=5))
    assert "Variance, old and new" in text
    assert "median, old" not in text
    assert 'class="other"' in text
    assert "Off by: what" not in text


def test_distances_of_the_overview() -> None:
    layers = tuple(replace(recalibrated(i, 2), off=off) for i, off in enumerate([1, 10, 100, 10]))
    found = re.search(
        r"Off by: what.*?class=\"mid\" stroke-width=\"[\d.]+\" d=\"(.*?)\"",
        page(calibration(layers=layers)),
    )
    assert found is not None
    ys = [float(y) for y in re.findall(r"M[\d.]+ ([\d.]+)h0", found[1])]
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.15)
    assert ys[3] == ys[1]
    up = Axis(0.0, 2.0, 24.0 + 128, 24.0, log=True)
    assert ys[0] - ys[2] == pytest.approx((up.place(1) - up.place(100)) / 1.08, abs=0.2)


@pytest.mark.parametrize(
    "odd", [math.nan, math.inf, -math.inf, 0.0, -1.0, 1e-320, 3.4e38, 1.7e308, -1.7e308]
)
@pytest.mark.parametrize("every", [True, False])
def test_awkward_numbers_break_nothing(odd: float, every: bool) -> None:
    def spoil(numbers: tuple[float, ...] | None) -> tuple[float, ...]:
        assert numbers is not None
        return (odd,) * len(numbers) if every else (odd, *numbers[1:])

    def worse(number: int) -> Recalibrated:
        made = recalibrated(number, 8)
        return replace(
            made,
            old_mean=spoil(made.old_mean),
            old_variance=spoil(made.old_variance),
            mean=spoil(made.mean),
            variance=spoil(made.variance),
            shift=spoil(made.shift),
            ratio=spoil(made.ratio),
            off=odd,
        )

    parsed = Page(page(calibration(layers=tuple(worse(i) for i in range(5)))))
    for value in parsed.attributes("d", "x", "y", "height", "width", "transform", "viewBox"):
        assert not re.search(r"nan|inf|e[+-]?\d|\d{6}", value), value
    keys = parsed.attributes("data-v")
    assert not any("nan" in key.lower() for key in keys)


def test_no_channels_and_lengths_that_differ() -> None:
    empty = replace(
        recalibrated(0, 8), mean=(), variance=(), old_mean=(), old_variance=(), shift=(), ratio=()
    )
    short = replace(recalibrated(1, 8), old_mean=(0.0,) * 5, old_variance=(0.0,))
    rows = rows_of(Page(page(calibration(layers=(empty, short)))), "Off by, σ")
    assert rows[0]["Channels"] == "0"
    assert rows[0]["New mean"] == "–"
    assert rows[1]["Channels"] == "8"


def test_2000_layers() -> None:
    text = page(calibration(2000, 16))
    parsed = Page(text)
    assert len(rows_of(parsed, "Off by, σ")) == 2000
    assert "Plots were drawn for 300 of 2000 batch norms, those furthest off first." in parsed.text
    assert text.count('<svg class="plot"') == 900
    assert len(text.encode()) < 8_000_000


def test_plots_go_to_those_furthest_off() -> None:
    layers = tuple(replace(recalibrated(i, 2), off=9.0 if i == 309 else 1.0) for i in range(310))
    text = page(calibration(layers=layers))
    drawn = [
        int(n) for n, rest in re.findall(r'id="bn(\d+)">(.*?)</details>', text, re.S)
        if 'class="plot"' in rest
    ]  # fmt: skip
    assert drawn == [*range(1, 300), 310]


def test_300_layers_of_2048_channels_stay_below_3_mb() -> None:
    text = page(calibration(300, 2048))
    assert len(text.encode()) < 3_000_000
    assert "Plots of new against old numbers show at most 120 channels" in text


# ------------------------------------------------------------ a fold that calibrated first


def test_fold_of_a_calibration() -> None:
    made = calibration(3, right=1, none=1, kept=(KEPT,), proof=validation(GOOD))
    text = page(fold_result(calibration=made))
    parsed = Page(text)
    assert "Calibrated 3 of 4 batch norms from 500 samples. Method precise: 500" in parsed.text
    assert "Rewritten batch norms reproduce the original on its own batch." in parsed.text
    assert len(rows_of(parsed, "Off by, σ")) == 3
    assert len(rows_of(parsed, "Why")) == 1
    # Anchors are those of the fold's batch norms.
    ids = parsed.attributes("id")
    assert len(ids) == len(set(ids)) == 3
    assert not any("href" in a for t, a in parsed.tags if t == "a" and "Off by" in str(a))
    section = text[text.index("<h2>Calibration") : text.index("<h2>Validation")]
    assert "href" not in section
    right = page(fold_result(calibration=calibration(2, right=2)))
    assert "from 500 samples; the statistics were already the data&#x27;s. Method" in right
    assert "<h2>Calibration" not in page(fold_result())


# ------------------------------------------------------------ names from a model


def evil() -> str:
    bad = replace(BAD, name=EVIL, message=EVIL, worst=replace(BAD.worst, run=EVIL))
    proof = replace(
        validation(bad), notes=(EVIL,), oracle=EVIL, providers=(ProviderProof(EVIL, EVIL),)
    )
    return page(
        calibration(
            layers=tuple(recalibrated(i, 8, name=EVIL) for i in range(5)),
            kept=(Uncalibrated(EVIL, EVIL, "decomposed", EVIL, EVIL),),
            info=replace(INFO, path=EVIL, producer=EVIL, opset={EVIL: 1}),
            proof=proof,
            provider=EVIL,
            notes=(EVIL,),
            output=Path("/x") / EVIL.replace("/", ""),
        )
    )


def evil_step() -> str:
    made = calibration(
        layers=(recalibrated(0, 8, name=EVIL),),
        kept=(Uncalibrated(EVIL, EVIL, "decomposed", EVIL, EVIL),),
        provider=EVIL,
    )
    return page(fold_result(calibration=made))


@pytest.mark.parametrize("make", [evil, evil_step])
def test_names_are_text(make: object) -> None:
    text = make()  # type: ignore[operator]
    text.encode()
    parsed = Page(text)
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    assert not re.search(r"alert\(1\)(?!&lt;)", text)
    assert "<script>alert(1)</script>\"'&\\x1b[31m\\u202e\\udc80</td>" in parsed.text
    for character in "\x1b\u202e\udc80":
        assert character not in text
