from __future__ import annotations

import base64
import hashlib
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from html_page import Page, rows_of
from html_results import CAUSE, FIX, check_result, site, statistics
from report_records import BAD, GOOD, INFO, finding, fold_result, validation

from bnopt.evidence import Behaviour, OutputBehaviour
from bnopt.findings import Cause, Finding, Folded, Kept, ProviderProof
from bnopt.report.html import page

EVIL = "<script>alert(1)</script>\"'&\x1b[31m\u202e\udc80</td>"

# ------------------------------------------------------------ the page


def test_page_asks_for_nothing() -> None:
    text = page(check_result(6, stale=2))
    parsed = Page(text)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|@font-face", text)
    assert parsed.attributes("src", "xlink:href", "style", "onclick", "onload") == []
    assert all(value.startswith("#") for value in parsed.attributes("href"))
    assert not {"link", "img", "iframe", "base", "form", "object"} & {t for t, _ in parsed.tags}


def test_policy_admits_only_this_style_and_script() -> None:
    text = page(check_result(2))
    policy = next(a["content"] for t, a in Page(text).tags if a.get("http-equiv"))
    assert policy is not None
    for tag in ("style", "script"):
        inner = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        assert len(inner) == 1
        digest = base64.b64encode(hashlib.sha256(inner[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "base-uri 'none'; form-action 'none'" in policy


def test_every_link_has_a_target_and_ids_are_unique() -> None:
    parsed = Page(page(check_result(7, stale=3)))
    ids = parsed.attributes("id")
    assert len(ids) == len(set(ids)) == 7
    assert {value[1:] for value in parsed.attributes("href")} == set(ids)


def test_same_result_same_text() -> None:
    assert page(check_result(5, stale=2)) == page(check_result(5, stale=2))
    assert page(fold_result()) == page(fold_result())


def test_300_layers_of_2048_channels_stay_below_3_mb() -> None:
    text = page(check_result(300, 2048, stale=300))
    assert len(text.encode()) < 3_000_000
    assert "at most 120 channels" in Page(text).text
    assert text.count('<svg class="plot"') == 900


def test_plots_of_further_layers_are_left_out_those_with_findings_come_first() -> None:
    made = check_result(310, 2)
    late = finding("warning", site=made.sites[309].id)
    parsed = Page(page(replace(made, findings=(late,))))
    assert "Plots were drawn for 300 of 310 batch norms" in parsed.text
    body = page(replace(made, findings=(late,)))
    with_plots = [
        int(n) for n, rest in re.findall(r'id="bn(\d+)">(.*?)</details>', body, re.S)
        if 'class="plot"' in rest
    ]  # fmt: skip
    assert with_plots == [*range(1, 300), 310]


def test_short_pages_thin_nothing() -> None:
    assert "at most" not in Page(page(check_result(6, 256))).text


# ------------------------------------------------------------ what it says


def test_verdict_and_most_likely_cause_come_first() -> None:
    text = Page(page(check_result(6, stale=4))).text
    order = [
        "Failed: 1 error",
        "Most likely cause",
        f"4 of 6 batch norms were never updated: {CAUSE}",
        f"Fix: {FIX}",
        "Compared with 64 samples of data: 2 consistent, 4 stale. The model was run.",
        "Findings by cause",
        "Overview",
        "All batch norms",
        "Behaviour",
        "One by one",
        "Notes",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def headline(parsed: Page, text: str) -> tuple[str, str]:
    tone = next(a["class"] for t, a in parsed.tags if (a.get("class") or "").startswith("verdict"))
    found = re.search(r"<h1>(.*?)</h1>", text)
    assert found is not None
    assert tone is not None
    return tone.removeprefix("verdict "), found[1]


WARNING = finding("warning", code="one-step", message="one step", site="main:y1")


@pytest.mark.parametrize(
    ("changes", "tone", "title"),
    [
        ({}, "good", "Passed"),
        ({"stale": 2}, "bad", "Failed: 1 error"),
        ({"stale": 2, "allowed": ("never-updated",)}, "warn",
         "Passed: the errors found are allowed"),
        ({"stale": 2, "allowed": ("all",)}, "warn", "Passed: the errors found are allowed"),
        ({"stale": 2, "allowed": ("one-step",)}, "bad", "Failed: 1 error"),
        ({"findings": (WARNING,)}, "warn", "Passed, with 1 warning"),
        ({"findings": (replace(WARNING, severity="info"),)}, "good", "Passed"),
        ({"count": 0}, "none", "No batch norms found"),
    ],
)  # fmt: skip
def test_verdict_of_a_check(changes: dict[str, object], tone: str, title: str) -> None:
    text = page(check_result(**changes))  # type: ignore[arg-type]
    assert headline(Page(text), text) == (tone, title)


@pytest.mark.parametrize(
    ("changes", "stopped", "tone", "title"),
    [
        ({}, False, "good", "Folded 2 of 3 batch norms; equivalent"),
        ({"validation": validation(GOOD, BAD)}, False, "bad",
         "NOT equivalent, nothing written. Folded 2 of 3 batch norms"),
        ({"validation": replace(validation(), equivalent=None)}, False, "warn",
         "Folded 2 of 3 batch norms; equivalence not proven"),
        ({"validation": None}, False, "warn", "Folded 2 of 3 batch norms; not validated"),
        ({"validation": None, "folded": 0}, False, "none",
         "Folded 0 of 1 batch norm; nothing to prove"),
        ({"validation": None, "dry_run": True}, False, "info",
         "Would fold 2 of 3 batch norms; dry run"),
        ({"validation": None, "findings": (finding(),)}, True, "bad",
         "Stopped, nothing written. Would fold 2 of 3 batch norms"),
    ],
)  # fmt: skip
def test_verdict_of_a_fold(
    changes: dict[str, object], stopped: bool, tone: str, title: str
) -> None:
    text = page(fold_result(**changes), stopped=stopped)  # type: ignore[arg-type]
    assert headline(Page(text), text) == (tone, title)


def test_what_the_verdict_rests_on_is_said() -> None:
    bare = Page(page(check_result(2, measured=False, behaviour=None))).text
    assert "No data was given, so stored statistics were not compared" in bare
    assert "The model was not run." in bare


def test_row_for_each_batch_norm() -> None:
    rows = rows_of(Page(page(check_result(6, stale=1))), "Batch norm")
    assert [row["#"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert rows[0]["Finding"] == "never-updated"
    assert rows[0]["Data says"] == "stale"
    assert rows[0]["Variance"] == "1"
    assert rows[0]["Channels"] == "64"
    assert rows[0]["Form"] == "BatchNorm"
    assert rows[0]["Fold would"] == "fold"
    assert rows[0]["Into, or reason"] == "into conv0"
    assert rows[4]["Fold would"] == "keep"
    assert rows[4]["Into, or reason"] == "paddingConv 'conv4' pads with zeros behind it"
    assert rows[5]["Finding"] == ""
    assert rows[5]["Data says"] == "consistent"


def test_measured_deviation() -> None:
    numbers = replace(
        statistics(0, 2),
        mean=(1.0, 2.0),
        variance=(3.99, 0.24),
        epsilon=0.01,
        scale=(-1.5, 2.5),
    )
    assert numbers.measured is not None
    numbers = replace(
        numbers, measured=replace(numbers.measured, mean=(2.0, 0.0), variance=(7.99, 0.49))
    )
    row = rows_of(Page(page(check_result(1, 2, statistics=(numbers,)))), "Batch norm")[0]
    # |2 - 1| / 2 = 0.5 and |0 - 2| / 0.5 = 4; 8 / 4 = 2 and 0.5 / 0.25 = 2.
    assert row["Mean off by, σ"] == "2.2, max 4"
    assert row["Variance ratio"] == "2"
    assert row["Variance"] == "0.24 to 3.99"
    assert row["Scale"] == "−1.5 to 2.5"


def test_numbers_are_sorted_by_value_not_by_text() -> None:
    first = replace(statistics(0, 2, measured=False), variance=(1e-3, 2e3))
    second = replace(statistics(1, 2, measured=False), variance=(math.nan, math.inf))
    parsed = Page(page(check_result(2, 2, statistics=(first, second))))
    row = rows_of(parsed, "Batch norm")[1]
    assert row["Variance"] == "2 not finite"
    keys = [a["data-v"] for t, a in parsed.tags if a.get("class") == "num" and "data-v" in a]
    assert "2000" in keys
    assert not any("nan" in (key or "").lower() for key in keys)


def test_columns_without_content_are_left_out() -> None:
    row = rows_of(Page(page(fold_result(findings=()))), "Batch norm")[0]
    assert list(row) == ["#", "Batch norm", "Decision", "Into, or reason", "Channels", "Form"]


def test_causes_hold_their_findings_and_lead_to_the_layer() -> None:
    made = check_result(4, stale=2)
    lost = finding("info", code="unrecoverable", site="main:gone", message="statistics are gone")
    cause = Cause("unrecoverable", "info", 1, 4, "statistics are gone", "")
    text = page(replace(made, findings=(*made.findings, lost), causes=(*made.causes, cause)))
    articles = re.findall(r"<article(.*?)</article>", text, re.S)
    assert len(articles) == 2
    assert articles[0].count("<li>") == 2
    assert 'href="#bn2"' in articles[0]
    assert "2 of 4 batch norms" in articles[0]
    assert "(channels 64; mean 0; variance 1)" in articles[0]
    assert "main:<wbr>gone" in articles[1]
    assert "href" not in articles[1]


def test_allowed_errors_are_marked() -> None:
    assert "error, allowed" in page(check_result(3, stale=1, allowed=("never-updated",)))
    assert "error, allowed" not in page(check_result(3, stale=1))


def test_long_lists_of_findings_end() -> None:
    many = tuple(finding("warning", site=None) for _ in range(405))
    text = page(check_result(1, findings=many))
    assert text.count("<li>") == 401
    assert "… and 5 more; --json lists all" in text


def test_long_evidence_is_cut() -> None:
    odd = finding("warning", evidence={"channels": list(range(99)), "text": "x" * 500})
    text = Page(page(fold_result(findings=(odd,)))).text
    assert "channels [0, 1, 2, 3, 4, 5, 6, 7, … (99)]" in text
    assert "x" * 300 not in text


def test_evidence_may_be_of_any_kind() -> None:
    odd = finding("info", evidence={"a": np.float32(0.5), "b": {"c": None}, "d": math.nan})
    assert "a 0.5; b (c None); d nan" in Page(page(fold_result(findings=(odd,)))).text


def test_numbers_without_a_site_have_a_row_of_their_own() -> None:
    stray = replace(statistics(1, 8), site="main:traced")
    rows = rows_of(Page(page(check_result(1, statistics=(stray,)))), "Batch norm")
    assert [row["Batch norm"] for row in rows] == [site(0).name, "main:traced"]
    assert rows[1]["Channels"] == "8"
    assert rows[1]["Fold would"] == ""


def test_scopes_are_named_where_there_are_several() -> None:
    inner = replace(site(1), scope="main/if.then_branch")
    rows = rows_of(Page(page(check_result(2, sites=(site(0), inner)))), "Batch norm")
    assert rows[1]["Batch norm"].endswith("in main/if.then_branch")
    assert "in main" not in Page(page(check_result(2))).text


def test_behaviour() -> None:
    seen = Behaviour(3, (OutputBehaviour("y", True, 1e-7, None, 0.5, 2.0),), ("ran on the cpu",))
    parsed = Page(page(check_result(1, behaviour=seen)))
    row = rows_of(parsed, "Other neighbours")[0]
    assert list(row.values()) == ["y", "1e−7", "–", "0.5", "2"]
    assert "Run on a batch of 3 samples" in parsed.text
    assert "Note: ran on the cpu" in parsed.text


def test_fold_shows_proof_nodes_bytes_and_decisions() -> None:
    parsed = Page(page(fold_result(validation=validation(GOOD, BAD))))
    worst, good = rows_of(parsed, "Noise floor")
    assert worst["Output"] == "z"
    assert worst["Verdict"] == "differschannel 3 differs by 0.25"
    assert worst["Largest error"] == "0.25"
    assert worst["Tolerance"] == "4e−6"
    assert worst["SNR, dB"] == "12"
    assert worst["Noise floor"] == "2e−7"
    assert good["SNR, dB"] == "∞"
    nodes = rows_of(parsed, "Operator")
    assert [list(row.values()) for row in nodes] == [
        ["BatchNormalization", "3", "1", "−2"],
        ["total", "8", "6", "−2"],
    ]
    assert "97.5 MB → 97.3 MB" in parsed.text
    assert "cpu: ran on CPUExecutionProvider; 70 nodes on CPUExecutionProvider." in parsed.text
    assert "12 runs, batch sizes 1, 3" in parsed.text
    rows = rows_of(parsed, "Batch norm")
    assert [row["Decision"] for row in rows] == ["folded", "folded", "kept"]
    assert rows[2]["Into, or reason"] == "not-linearRelu 'r' stands in front"
    assert "1 batch norm kept: not-linear 1." in parsed.text


# ------------------------------------------------------------ names from a model


def evil_check() -> str:
    made = check_result(2, 8, stale=1)
    behaviour = Behaviour(2, (OutputBehaviour(EVIL, True, 0, 0, 0, 0),), (EVIL,))
    return page(
        replace(
            made,
            info=replace(INFO, path=EVIL, producer=EVIL, opset={EVIL: 1}),
            sites=(
                replace(site(0), name=EVIL, scope=EVIL, decision=Kept(EVIL, EVIL)),
                replace(site(1), name=EVIL, decision=Folded(EVIL, EVIL)),
            ),
            findings=(
                Finding("never-updated", "error", "main:y0", EVIL, EVIL, {EVIL: [EVIL]}),
                Finding(EVIL, "info", EVIL, EVIL, EVIL, {"x": {EVIL: EVIL}}),
            ),
            statistics=(replace(statistics(0, 8), verdict=EVIL), replace(statistics(1), site=EVIL)),
            behaviour=behaviour,
            allowed=(EVIL,),
            notes=(EVIL,),
        )
    )


def evil_fold() -> str:
    bad = replace(BAD, name=EVIL, message=EVIL, worst=replace(BAD.worst, run=EVIL))
    proof = ProviderProof(EVIL, EVIL, ((EVIL, 1),))
    judged = replace(validation(bad), notes=(EVIL,), oracle=EVIL, providers=(proof,))
    counts = fold_result().node_counts
    return page(
        fold_result(
            validation=judged,
            node_counts=replace(counts, before={EVIL: 3}),
            output=Path("/x") / EVIL.replace("/", ""),
            bound=(EVIL,),
        )
    )


@pytest.mark.parametrize("make", [evil_check, evil_fold])
def test_names_are_text(make: object) -> None:
    text = make()  # type: ignore[operator]
    text.encode()
    parsed = Page(text)
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    assert not re.search(r"alert\(1\)(?!&lt;)", text)
    assert "<script>alert(1)</script>\"'&\\x1b[31m\\u202e\\udc80</td>" in parsed.text
    known = (
        "aria-hidden aria-label charset class content cx cy d data-v height href http-equiv id "
        "lang name open r role rx scope stroke-width tabindex title transform viewbox width x y"
    )
    assert {name for _, a in parsed.tags for name in a} <= set(known.split())
    for character in "\x1b\u202e\udc80":
        assert character not in text
