"""Write docs/limits.md and docs/rules.md from the documentation that stands in the code.

Usage: python tools/make_docs.py [--check]

With --check nothing is written; the exit code is 1 if a page is out of date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from _limit_cases import CASES

from bnopt.frontends.tensorflow.mistakes import MISTAKES
from bnopt.reasons import CALIBRATION_REASONS, REASONS, Reason
from bnopt.report.text import blocks
from bnopt.rules import RULES, Rule

CASES_INTRO = (
    "The names are those of small exports, one of every way in which TensorFlow and PyTorch write "
    "batch norm; what is not listed here folds completely. Exports in training mode "
    "(`*__ts_training`, `training_mode=1`) are left out: they hold nothing but batch statistics."
)
CALIBRATION_INTRO = (
    "`bnopt calibrate` gives one of the reasons above, where it is as good for statistics "
    "(`extra-outputs`, `shape-mismatch`, `data-type`, `unknown-opset`, `dynamic-statistics`, ...), "
    "or one of these. The other batch norms of the model are calibrated all the same."
)
EXPORT_INTRO = (
    "`bnopt export` also looks at TensorFlow's variables and graph before they are frozen. Where "
    "it sees what a rule above means, it uses that code; these are its own:"
)
DOCS = Path(__file__).resolve().parents[1] / "docs"


def limits() -> str:
    intro = (
        "Each batch norm that `bnopt fold` leaves has one of these reasons. `bnopt explain CODE` "
        "prints the same text. This page is written by `python tools/make_docs.py`."
    )
    lines = ["# When a batch norm is kept", "", intro, *_reasons(REASONS.values())]
    lines += ["", "# Where no exact fold exists", "", CASES_INTRO]
    for case in CASES:
        names = ", ".join(f"`{name}`" for name in case.names)
        reasons = ", ".join(case.reasons)
        lines += ["", f"**{case.title}.** {case.why} *{reasons}*: {names}."]
    lines += ["", "# When a batch norm is not calibrated", "", CALIBRATION_INTRO]
    lines += _reasons(CALIBRATION_REASONS.values())
    return "\n".join(lines) + "\n"


def _reasons(reasons: Iterable[Reason]) -> list[str]:
    lines: list[str] = []
    for reason in reasons:
        lines += ["", f"## {reason.code}", "", f"*{reason.title[0].upper()}{reason.title[1:]}.*"]
        lines += ["", reason.doc]
    return lines


def rules() -> str:
    intro = (
        "What `bnopt check` looks for, and `bnopt fold` before it folds, by the numbers alone. The "
        "severity is the gravest that a rule gives. An *error* makes `check` fail and stops "
        "`fold`, unless its code is given to `--allow`. How often each is right stands "
        "[at the end](#how-often-bnopt-check-is-right). This page is written by "
        "`python tools/make_docs.py`."
    )
    lines = ["# Rules", "", intro, "", "| code | severity | what it reports |", "|---|---|---|"]
    lines += [f"| [{rule.code}](#{rule.code}) | {rule.severity} | {rule.title} |" for rule in RULES]
    lines += ["", EXPORT_INTRO, "", "| code | severity | what it reports |", "|---|---|---|"]
    mistakes = [Rule.of(module) for module in MISTAKES]
    lines += [f"| [{m.code}](#{m.code}) | {m.severity} | {m.title} |" for m in mistakes]
    for rule in (*RULES, *mistakes):
        lines += ["", f"## {rule.code}", "", f"*{rule.title}.* Severity: {rule.severity}."]
        for is_example, text in blocks(rule.doc):
            lines += ["", *(text.splitlines() if is_example else [text])]
    return "\n".join([*lines, "", *_confusion()]) + "\n"


def _confusion() -> list[str]:
    """The tables that tools/confusion.py has written, one heading deeper, without its lists."""
    lines: list[str] = []
    kept = True
    for line in (DOCS / "confusion.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            kept = not line.startswith("### ")
        if kept:
            lines.append(f"#{line}" if line.startswith("## ") else line)
    while not lines[-1]:
        lines.pop()
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say whether pages are stale")
    arguments = parser.parse_args()
    stale = False
    for name, text in {"limits.md": limits(), "rules.md": rules()}.items():
        path = DOCS / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if arguments.check:
            print(f"docs/{name} is out of date: run python tools/make_docs.py")
            stale = True
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/{name}")
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
