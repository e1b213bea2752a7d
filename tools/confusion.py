"""How often `bnopt check` is right about the exports of frameworks: a confusion table.

    python tools/confusion.py [../shared/forms] [--match 'slim_*'] [--markdown FILE] [--verbose]
    python tools/confusion.py --corpus ../shared/corpus/models

Each export is checked without data and, where samples like its training data are stored, with
them; no model is run but to measure. tools/_confusion_truth.py says what is true of each. An
export is reported rightly if one of the codes of its row is an error or a warning; what else was
found is counted only where none of these is.

Printed at the end: mistakes that were missed, and errors about exports that are sound. The exit
code is 1 if there is such an error, or if a training graph was not recognised. With data, an error
is false only where the statistics are known to be those of the data.

With `--corpus` every model below a folder is checked without data, and errors and warnings listed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import _tables
import numpy as np
import onnx
from _confusion_truth import TRUTHS, Arrays, Export, exports, load

from bnopt import api
from bnopt.errors import BnoptError
from bnopt.findings import Finding

FORMS = Path(__file__).resolve().parents[2] / "shared" / "forms"
LARGEST = 200 << 20
OUTCOMES = (
    "right error",
    "right warning",
    "right info",
    "other error",
    "other warning",
    "unrecoverable",
    "nothing",
)
HEADER = ("truth", "export", "n", *OUTCOMES, "found")
INTRODUCTION = (
    "This page is written by `python tools/confusion.py --markdown docs/confusion.md`. Each "
    "row is one kind of truth about small exports of TensorFlow (tf2onnx with its optimizers, "
    "without: `noopt`, at opset 13: `op13`) and PyTorch. `right`: the gravest finding of a "
    "rule that names the mistake; `other`: of another rule, where no right one speaks; "
    "`right info`: it is said, as harmless; "
    "`unrecoverable`: no error or warning, but bnopt says that the evidence is gone; `found`: "
    "exports in which each rule speaks, infos included. The models were not run but to "
    "measure: `check` also runs them, unless told not to."
)
Feed = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Record:
    """One check of one export.

    Attributes:
        export: What was checked.
        with_data: Whether samples were given.
        found: The gravest severity of each code.
        messages: One line for each finding.
    """

    export: Export
    with_data: bool
    found: Mapping[str, str]
    messages: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """One of OUTCOMES: a right code comes before any other, and what is graver first."""
        right = {self.found[code] for code in self.export.truth.right & self.found.keys()}
        for kind, severities in (("right", right), ("other", set(self.found.values()))):
            for severity in ("error", "warning", "info")[: 3 if kind == "right" else 2]:
                if severity in severities:
                    return f"{kind} {severity}"
        return "unrecoverable" if "unrecoverable" in self.found else "nothing"

    @property
    def is_missed(self) -> bool:
        """Whether a mistake has neither an error nor a warning that names it."""
        return self.export.truth.mistake and self.outcome not in OUTCOMES[:2]

    @property
    def is_false_alarm(self) -> bool:
        """Whether something sound has an error by a code that is not right."""
        truth = self.export.truth
        false = {c for c, severity in self.found.items() if severity == "error"} - truth.right
        return bool(false) and truth.sound and (truth.agrees or not self.with_data)


def gravest(findings: Iterable[Finding]) -> dict[str, str]:
    """The gravest severity of each code."""
    order = ("info", "warning", "error")
    found: dict[str, str] = {}
    for finding in findings:
        found[finding.code] = max(
            found.get(finding.code, "info"), finding.severity, key=order.index
        )
    return found


def feeds(model: onnx.ModelProto, arrays: Arrays) -> list[Feed]:
    """The stored samples for the one data input, in batches that the model takes.

    An input of bools is the training switch: it is off.

    Returns:
        One feed per batch; none if no samples are stored, or the model has no such input.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    kinds = {value.name: value.type.tensor_type for value in inputs}
    switches = [name for name, kind in kinds.items() if kind.elem_type == onnx.TensorProto.BOOL]
    samples = arrays.get("calib__x")
    data = [name for name in kinds if name not in switches]
    if samples is None or len(data) != 1:
        return []
    kind = kinds[data[0]]
    size = (kind.shape.dim[0].dim_value if kind.shape.dim else 0) or len(samples)
    samples = samples.astype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    off = {name: np.zeros([d.dim_value for d in kinds[name].shape.dim], bool) for name in switches}
    starts = range(0, len(samples) - size + 1, size)
    return [{data[0]: samples[start : start + size], **off} for start in starts]


def check_export(export: Export) -> list[Record]:
    """Without data, and with data if it can be fed."""
    batches = feeds(onnx.load(export.path), load(export.arrays))
    records: list[Record] = []
    for data in (None, batches) if batches else (None,):
        try:
            result = api.check(export.path, data=data, run=False)
        except BnoptError as error:
            records.append(Record(export, data is not None, {"refused": "info"}, (str(error),)))
            continue
        messages = [f"{f.severity} {f.code}: {f.message}" for f in result.findings]
        found = gravest(result.findings)
        records.append(Record(export, data is not None, found, (*messages, *result.notes)))
    return records


def rows(records: Sequence[Record]) -> list[list[str]]:
    """One row for each truth and kind of export that there is, in the order of the truths."""
    lines: list[list[str]] = []
    kinds = dict.fromkeys(record.export.kind for record in records)
    for truth in TRUTHS:
        for kind in kinds:
            chosen = [r for r in records if r.export.truth is truth and r.export.kind == kind]
            if not chosen:
                continue
            outcomes = Counter(record.outcome for record in chosen)
            codes = Counter(code for record in chosen for code in record.found)
            found = ", ".join(f"{code} {n}" for code, n in codes.most_common()) or "nothing"
            counts = [str(outcomes[outcome] or "-") for outcome in OUTCOMES]
            lines.append([truth.name, kind, str(len(chosen)), *counts, found])
    return lines


def by_case(records: Iterable[Record]) -> list[str]:
    """One line for each case: the kinds of its exports, and what was found in them."""
    cases: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        cases[record.export.path.stem.partition("__")[0]].append(record)
    lines: list[str] = []
    for case, chosen in sorted(cases.items()):
        stems = (record.export.path.stem.partition("__")[2] or "default" for record in chosen)
        seen = sorted({f"{c} ({s})" for r in chosen for c, s in r.found.items()}) or ["nothing"]
        truth = chosen[0].export.truth.name
        lines.append(f"{case} [{truth}; {', '.join(stems)}]: {', '.join(seen)}")
    return lines


def parts(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The records of each of the two tables, under its title."""
    return {
        "Without data": [record for record in records if not record.with_data],
        "With data": [record for record in records if record.with_data],
    }


def page(records: Sequence[Record]) -> str:
    """The tables as a page of the documentation."""
    text = ["# How often `bnopt check` is right", INTRODUCTION]
    for title, chosen in parts(records).items():
        lines = rows(chosen)
        text += [f"## {title}", _tables.markdown(HEADER, lines) if lines else "Nothing."]
        for heading, named in (
            ("Missed", [r for r in chosen if r.is_missed]),
            ("Errors about sound exports", [r for r in chosen if r.is_false_alarm]),
        ):
            listed = "\n".join(f"- {line}" for line in by_case(named)) or "None."
            text += [f"### {heading} ({title.lower()}): {len(named)} exports", listed]
    return "\n\n".join(text) + "\n"


def failures(records: Iterable[Record]) -> list[Record]:
    """False alarms, and training graphs that were not recognised."""
    return [r for r in records if r.is_false_alarm or (r.is_missed and r.export.truth.must)]


def corpus(folder: Path) -> str:
    """Errors and warnings in every model below a folder, and how many models have each code."""
    lines: list[str] = []
    counts: Counter[tuple[str, str]] = Counter()
    checked = 0
    for path in sorted(folder.rglob("*.onnx")):
        name = path.relative_to(folder)
        if path.stat().st_size > LARGEST:
            lines.append(f"{name}: skipped, {path.stat().st_size >> 20} MiB")
            continue
        try:
            result = api.check(path, run=False)
        except BnoptError as error:
            lines.append(f"{name}: skipped, {error}")
            continue
        checked += 1
        counts.update((severity, code) for code, severity in gravest(result.findings).items())
        for cause in result.causes:
            if cause.severity != "info":
                share = f" [{cause.found} of {cause.of}]" if cause.found else ""
                lines.append(f"{name}: {cause.severity} {cause.code}{share}: {cause.message}")
    lines.append(f"{checked} models")
    for (severity, code), models in sorted(counts.items()):
        lines.append(f"{severity} {code}: {models} models")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FORMS, help="framework exports")
    parser.add_argument("--match", default="*", help="which exports (default *)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page there")
    parser.add_argument("--verbose", action="store_true", help="print the findings of each export")
    parser.add_argument("--corpus", type=Path, metavar="FOLDER", help="list what is in these")
    options = parser.parse_args()
    if options.corpus:
        if not options.corpus.is_dir():
            parser.error(f"{options.corpus}: no such folder")
        print(corpus(options.corpus))
        return 0

    records: list[Record] = []
    for export in exports(options.folder):
        if not export.path.match(f"{options.match}.onnx"):
            continue
        records += (done := check_export(export))
        for record in done if options.verbose else ():
            data = ", with data" if record.with_data else ""
            print(f"{export.path.stem} [{export.truth.name}{data}]: {record.outcome}")
            print("".join(f"    {line}\n" for line in record.messages), end="")
    if not records:
        parser.error(f"no export {options.match} in {options.folder}")
    for title, chosen in parts(records).items():
        print(f"\n{title}\n\n{_tables.markdown(HEADER, rows(chosen))}")
        for what, named in (
            ("missed", [r for r in chosen if r.is_missed]),
            ("false alarms", [r for r in chosen if r.is_false_alarm]),
        ):
            print(f"\n{what}: {len(named)} exports")
            print("".join(f"  {line}\n" for line in by_case(named)), end="")
    if options.markdown:
        options.markdown.write_text(page(records), encoding="utf-8")
    return int(bool(failures(records)))


if __name__ == "__main__":
    sys.exit(main())
