"""The page of an export."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from html_page import Page, rows_of
from html_results import calibration
from report_records import (
    BAD,
    GOOD,
    INFO,
    KEPT,
    VARIABLES,
    export_result,
    finding,
    fold_result,
    source_finding,
    validation,
)

from bnopt.evidence import Agreement
from bnopt.findings import Validation
from bnopt.report.html import page, write
from bnopt.results import ExportResult, Timings

EVIL = "<script>alert(1)</script>\"'&\x1b[31m\u202e\udc80</td>"

FOLDED = "folded 2 of 3 batch norms"
DIFFERENT = Agreement(8, "z", 0.5, 0.25, 1e-3, False)


def headline(text: str) -> tuple[str, str]:
    tone = next(
        value for value in Page(text).attributes("class") if value.startswith("verdict")
    ).removeprefix("verdict ")
    found = re.search(r"<h1>(.*?)</h1>", text)
    assert found is not None
    return tone, Page(found[0]).text


def shown(**changes: object) -> str:
    return Page(page(export_result(**changes))).text


# ------------------------------------------------------------ the page


def test_page_asks_for_nothing_and_its_links_have_targets() -> None:
    made = export_result(findings=(source_finding(),), calibration=calibration(3))
    text = page(made)
    parsed = Page(text)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|@font-face", text)
    assert parsed.attributes("src", "xlink:href", "style", "onclick", "onload") == []
    ids = parsed.attributes("id")
    assert len(ids) == len(set(ids)) == 3
    assert {value[1:] for value in parsed.attributes("href")} == set(ids)
    assert "<title>bnopt export: model.ckpt.meta</title>" in text
    assert page(made) == text


@pytest.mark.parametrize(
    ("source", "name"),
    [("saved/", "saved"), ("Sequential", "Sequential"), ("/", "/"), ("", "model in memory")],
)
def test_name_of_the_source(source: str, name: str) -> None:
    assert f"<title>bnopt export: {name}</title>" in page(export_result(source=source))


def test_write(tmp_path: Path) -> None:
    target = write(export_result(), tmp_path / "r.html")
    assert target.read_text(encoding="utf-8") == page(export_result())
    write(export_result(), target, stopped=True, why="because")
    text = target.read_text(encoding="utf-8")
    assert "Stopped, nothing written" in text
    assert "because" in text


def test_sections_in_order() -> None:
    text = page(
        export_result(
            findings=(source_finding(),),
            fold=fold_result(6, findings=(finding("warning"),)),
            calibration=calibration(2),
        )
    )
    assert re.findall("<h2>(.*?)</h2>", text) == [
        "Findings in the source",
        "Agreement with tensorflow",
        "Variables of batch norms",
        "Calibration",
        "Findings in the converted model",
        "Validation",
        "Nodes",
        "Overview",
        "All batch norms",
        "One by one",
        "Notes",
    ]
    top = Page(text).text
    for part in (
        "Compared with tensorflow 2.21.0, tf2onnx 1.17.0 at batch 1, 8: the largest error is 3e−7",
        "The folded model is equivalent to the converted one.",
        "1 batch norm kept: not-linear 1.",
    ):
        assert top.index(part) < top.index("Kindcheckpoint")


def test_what_is_not_there_has_no_section() -> None:
    text = page(
        export_result(fold=None, info=None, agreement=(), variables=(), notes=(), output=None)
    )
    assert "<h2>" not in text
    assert headline(text) == ("warn", "Exported; not compared with tensorflow")
    assert "Written to" not in text


REPAIR = calibration(2)
REPAIRED = "Exported; calibrated 2 of 2 batch norms from 500 samples; the converted model agrees"
WOULD = "nothing written. Would fold 2 of 3 batch norms"


@pytest.mark.parametrize(
    ("changes", "stopped", "tone", "title"),
    [
        ({}, False, "good", f"Exported; {FOLDED}; agrees with tensorflow"),
        ({"fold": None}, False, "good", "Exported; agrees with tensorflow"),
        ({"framework": "torch 2.13.0"}, False, "good", f"Exported; {FOLDED}; agrees with torch"),
        ({"framework": "torch, onnx 1"}, False, "good",
         f"Exported; {FOLDED}; agrees with torch"),
        ({"agreement": ()}, False, "warn", f"Exported; {FOLDED}; not compared with tensorflow"),
        ({"agreement": (DIFFERENT,)}, True, "bad",
         f"DIFFERS from tensorflow, {WOULD}"),
        ({"agreement": (DIFFERENT,), "calibration": REPAIR}, True, "bad",
         f"The converted model DIFFERS from tensorflow, {WOULD}"),
        ({"fold": fold_result(validation=validation(BAD))}, True, "bad",
         f"NOT equivalent once folded, {WOULD}"),
        ({}, True, "bad", f"Stopped, {WOULD}"),
        ({"fold": None}, True, "bad", "Stopped, nothing written"),
        ({"fold": fold_result(validation=Validation(None, "none"))}, False, "warn",
         f"Exported; {FOLDED}; agrees with tensorflow; the fold is not proven"),
        ({"findings": (source_finding(),)}, False, "warn",
         f"Exported; {FOLDED}; agrees with tensorflow"),
        ({"findings": (source_finding("info"),)}, False, "good",
         f"Exported; {FOLDED}; agrees with tensorflow"),
        ({"fold": fold_result(findings=(finding("warning"),))}, False, "warn",
         f"Exported; {FOLDED}; agrees with tensorflow"),
        ({"fold": None, "findings": (source_finding(),), "calibration": REPAIR}, False, "good",
         f"{REPAIRED} with tensorflow"),
        ({"fold": None, "findings": (source_finding(code="epsilon-differs"),),
          "calibration": REPAIR}, False, "warn",
         f"{REPAIRED} with tensorflow"),
        ({"fold": None, "calibration": calibration(2, kept=(KEPT,))}, False, "warn",
         f"{REPAIRED.replace('2 of 2', '2 of 3')} with tensorflow"),
    ],
)  # fmt: skip
def test_verdict(changes: dict[str, object], stopped: bool, tone: str, title: str) -> None:
    assert headline(page(export_result(**changes), stopped=stopped)) == (tone, title)


def test_why_it_stopped_comes_first() -> None:
    made = export_result(findings=(source_finding(),), fold=None, agreement=(), output=None)
    text = Page(page(made, stopped=True, why="never-updated: it was not; or --allow it")).text
    assert "Why it stoppednever-updated: it was not; or --allow it" in text
    assert "Found in the source" not in text
    # A caller that does not say why has the gravest finding there.
    unsaid = Page(page(made, stopped=True)).text
    assert "Found in the source'bn0' was never updatedFix: train it" in unsaid
    assert "Why it stopped" not in Page(page(made, why="no")).text


def test_gravest_finding_leads_wherever_it_is() -> None:
    mild = source_finding("warning", code="decay-is-flag", message="mild")
    grave = fold_result(findings=(finding("error", message="grave", fix="a cure"),))
    text = shown(findings=(mild,), fold=grave)
    assert "Found in the converted modelgraveFix: a cureAnd 1 other, below." in text
    assert "Found in the sourcemild" in shown(findings=(mild,))
    assert "below." not in shown(findings=(mild,))
    assert "Found in the sourcemildNext:" in shown(findings=(replace(mild, fix=""),))
    assert "Found in" not in shown(findings=(replace(mild, severity="info"),))


def test_what_was_repaired_leads_only_if_nothing_is_left() -> None:
    repaired = source_finding()
    text = shown(findings=(repaired,), calibration=REPAIR)
    assert "Repaired from data'bn0' was never updated" in text
    # The only cure left is in the box below.
    assert text.count("Fix: train it") == 1
    assert "error, repaired" in text
    other = source_finding(code="epsilon-differs", message="another epsilon")
    text = shown(findings=(repaired, other), calibration=REPAIR)
    assert "Found in the sourceanother epsilonFix: train itAnd 1 other, below." in text
    assert "error, repaired" not in shown(findings=(repaired,))


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({}, "bnopt check /models/net.onnx --data D"),
        ({"output": None, "findings": (source_finding("info", code="few-steps"),)},
         "bnopt explain few-steps"),
        ({"output": None, "findings": (source_finding("info", code="few-steps"),),
          "fold": fold_result(findings=(finding(code="half-overflow"),))},
         "bnopt explain half-overflow"),
    ],
)  # fmt: skip
def test_next_step(changes: dict[str, object], command: str) -> None:
    assert f"Next: {command}" in shown(**changes)


def test_no_next_step_without_a_model_or_a_finding() -> None:
    assert "Next:" not in shown(output=None)


# ------------------------------------------------------------ facts, notes


def test_facts() -> None:
    text = shown()
    for part in (
        "Sourcerun/model.ckpt.meta",
        "Kindcheckpoint",
        "Frameworktensorflow 2.21.0, tf2onnx 1.17.0",
        "Producerpytorch 2.5",
        "Opset17, com.microsoft 1",
        "Nodes176",
        "Batch norms3",
        "Weights97.5 MB → 97.3 MB",
        "Written to/models/net.onnx",
        "Time22.0 s (convert 8.00, fold 13.2, compare 0.50, save 0.25)",
    ):
        assert part in text
    assert "Modelin memory" not in text


def test_time_of_a_repair_is_counted_once() -> None:
    repair = calibration(2, timings=Timings(calibrate=4.0))
    assert "calibrate 4.00, fold 13.2" in shown(calibration=repair)
    own = fold_result(calibration=repair, timings=Timings(calibrate=4.0, plan=1.0))
    text = shown(calibration=repair, fold=own)
    assert "calibrate 4.00" not in text
    assert "fold 5.00" in text


def test_notes_are_not_repeated() -> None:
    text = shown()
    notes = text[text.index("Notes") :]
    assert notes.count("a note") == 1
    assert "2 update ops were pruned" in notes
    assert "a weight was copied" in notes


# ------------------------------------------------------------ tables


def test_agreement() -> None:
    three = (*export_result().agreement, DIFFERENT)
    rows = rows_of(Page(page(export_result(agreement=three, variables=()))), "Batch")
    assert [list(row.values()) for row in rows] == [
        ["z", "8", "differs", "0.5", "0.001", "0.25"],
        ["y", "1", "within", "1e−6", "0.001", "1e−7"],
        ["y", "8", "within", "3e−6", "0.001", "3e−7"],
    ]
    assert "before statistics" not in shown()


def test_an_error_that_is_no_number_is_the_largest() -> None:
    odd = replace(DIFFERENT, max_abs=math.nan, max_rel=math.nan)
    text = shown(agreement=(*export_result().agreement, odd, DIFFERENT))
    assert "the largest error is nan of" in text


def test_variables() -> None:
    rows = rows_of(Page(page(export_result())), "Still initial")
    assert [list(row.values()) for row in rows] == [
        ["bn0/gamma", "gamma", "64", "no", "0.5", "1.5"],
        ["bn0/beta", "beta", "64", "–", "−0.25", "0.25"],
        ["bn0/moving_mean", "moving mean", "64", "yes", "0", "0"],
        ["bn0/moving_variance", "moving variance", "64", "yes", "1", "1"],
        ["bn1/moving_mean", "moving mean", "2 × 3", "no", "−2", "∞"],
        ["bn1/num_batches_tracked", "steps", "scalar", "yes", "0", "nan"],
    ]
    text = shown()
    assert (
        "Still as they were initialised: gamma 0 of 1, moving mean 1 of 2, moving variance 1 of 1, "
        "steps 1 of 1."
    ) in text


def test_only_statistics_warn_that_they_are_initial() -> None:
    def warns(**changes: object) -> bool:
        made = export_result(variables=(replace(VARIABLES[2], **changes),))
        return 'class="badge warn"' in page(made)

    assert warns()
    assert warns(role="shadow")
    assert not warns(role="gamma")
    assert not warns(initial=False)
    assert not warns(initial=None)


def test_nothing_is_said_of_initial_values_that_are_not_known() -> None:
    unknown = tuple(replace(each, initial=None) for each in VARIABLES)
    assert "as they were initialised" not in shown(variables=unknown)


def test_keys_of_odd_numbers_sort() -> None:
    keys = Page(page(export_result())).attributes("data-v")
    assert "Infinity" in keys
    assert not any("nan" in key.lower() for key in keys)


def test_findings_of_the_source_are_grouped_by_code() -> None:
    many = (
        source_finding(),
        source_finding(site="bn1", message="'bn1' was never updated"),
        source_finding(site="bn1", message="'bn1' was never updated, too"),
        source_finding("warning", code="decay-is-flag", site=None, message="decay", fix=""),
    )
    text = page(export_result(findings=many))
    boxes = [Page(box).text for box in re.findall(r"<article.*?</article>", text, re.S)]
    assert boxes[0].startswith(
        "errornever-updated2 batch norms'bn0' was never updatedFix: train it"
    )
    assert "3 findings" in boxes[0]
    assert "bn1: 'bn1' was never updated (rows 64)" in boxes[0]
    assert boxes[1].startswith("warningdecay-is-flagwhole modeldecay1 finding")
    assert len(boxes) == 2


# ------------------------------------------------------------ a repair


def test_calibration_is_shown_once() -> None:
    repair = calibration(2)
    inside = fold_result(calibration=repair)
    for changes in (
        {"calibration": repair},
        {"calibration": repair, "fold": inside},
        # As a refused fold leaves it.
        {"fold": inside},
        {"calibration": repair, "fold": None},
    ):
        made = export_result(**changes)
        assert page(made).count("<h2>Calibration</h2>") == 1
        assert "calibrated 2 of 2 batch norms" in headline(page(made))[1]
        assert "before statistics were taken from data" in Page(page(made)).text
    assert "<h2>Calibration</h2>" not in page(export_result())


def test_decisions_of_what_was_stopped_are_plans() -> None:
    assert rows_of(Page(page(export_result())), "Decision")
    assert rows_of(Page(page(export_result(), stopped=True)), "Fold would")


# ------------------------------------------------------------ names from a model


def evil() -> ExportResult:
    return export_result(
        source=EVIL,
        kind=EVIL,
        framework=EVIL,
        info=replace(INFO, path=EVIL, producer=EVIL, opset={EVIL: 1}),
        variables=tuple(replace(each, name=EVIL, role=EVIL) for each in VARIABLES),
        findings=(source_finding(code=EVIL, site=EVIL, message=EVIL, fix=EVIL,
                                 evidence={EVIL: EVIL}),),
        fold=fold_result(validation=validation(replace(GOOD, name=EVIL)), notes=(EVIL,)),
        agreement=(replace(DIFFERENT, output=EVIL, ok=True),),
        notes=(EVIL,),
        output=Path("/x") / EVIL.replace("/", ""),
    )  # fmt: skip


@pytest.mark.parametrize("stopped", [False, True])
def test_names_are_text(stopped: bool) -> None:
    text = page(evil(), stopped=stopped, why=EVIL if stopped else "")
    text.encode()
    parsed = Page(text)
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    assert not re.search(r"alert\(1\)(?!&lt;)", text)
    assert "<script>alert(1)</script>\"'&\\x1b[31m\\u202e\\udc80</td>" in parsed.text
    for character in "\x1b\u202e\udc80":
        assert character not in text


def test_2000_variables() -> None:
    text = page(export_result(variables=VARIABLES * 2000))
    assert len(rows_of(Page(text), "Still initial")) == 12_000
    assert len(text.encode()) < 6_000_000
