"""Fold and validate every model of a folder; one table, one total line, one exit code.

    python tools/corpus.py ../shared/corpus/models [--jobs 2] [--markdown] [--json]

Every finding is allowed (a corpus holds training exports too), so the table shows what folding
does. A row's state is one of

- `ok`: folded as far as bnopt can, and shown to be equivalent;
- `unchanged`: nothing to fold, so nothing to prove;
- `unproven`: folded, but nothing could run the model, so nothing was compared;
- `refused`: bnopt declined the file with a clear error (a part it would lose or misread);
- `WRONG`: not equivalent; `INVALID`: onnx.checker or onnxruntime rejects the result but took the
  original; `MISSED`: fewer batch norms found than the folder's manifest.json counts nodes, or more
  left in the result, counted without bnopt, than bnopt says that it keeps;
  `CRASHED`: an unexpected exception, a signal, or the time limit.

The exit code is 1 if any state is written in capitals, else 0. Each model runs in a process of its
own. Seconds are those of `bnopt.fold`: load, plan, apply, validate and save.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import _process
import _tables

if TYPE_CHECKING:
    from bnopt import FoldResult
    from bnopt.findings import Validation

HEADER = ("model", "found", "folded", "merged", "kept", "oracle", "error / allowed", "s", "state")
BAD = ("WRONG", "INVALID", "MISSED", "CRASHED")


def fold_one(job: _process.Job) -> _process.Job:
    """In the child: fold one model, and ask the checker and onnxruntime about the result."""
    import _graphs

    import bnopt

    path = Path(job["path"])
    with tempfile.TemporaryDirectory(prefix="bnopt-corpus-") as folder:
        output = Path(folder, "folded.onnx")
        start = time.perf_counter()
        try:
            result = bnopt.fold(
                path, output=output, allow=("all",), providers=tuple(job["providers"])
            )
            judged = result.validation
        except bnopt.BnoptError as error:
            judged = getattr(error, "validation", None)
            result = getattr(error, "result", None)
            if judged is None or result is None:
                seconds = time.perf_counter() - start
                return {"state": "refused", "message": error.message, "seconds": seconds}
        seconds = time.perf_counter() - start
        faults, left = [], {}
        if output.exists():
            faults = _graphs.new_faults(_graphs.faults(path), _graphs.faults(output))
            left = _graphs.size(output)

    record = describe(result, judged)
    unlisted = sum(left[form] for form in ("batch_norms", "decomposed")) if left else 0
    unlisted -= sum(record["kept"].values())
    if result.summary.found < job["expected"] or unlisted > 0:
        record |= {"state": "MISSED", "message": f"{max(unlisted, 0)} left that are not listed"}
    if faults:
        record |= {"state": "INVALID", "message": "; ".join(faults)}
    left = {f"{form}_left": left.get(form) for form in ("batch_norms", "decomposed")}
    return {**record, **left, "seconds": seconds}


def describe(result: FoldResult, judged: Validation | None) -> _process.Job:
    """A fold's counts and its verdict, JSON-ready; a number that is not finite is None."""
    kept = Counter(
        reason for site in result.sites if (reason := getattr(site.decision, "reason", None))
    )
    outputs = judged.outputs if judged else ()
    worst = max(outputs, key=lambda o: o.max_abs / max(o.tolerance, 1e-300), default=None)
    state, told = "unchanged", ()
    if judged:
        state = {True: "ok", False: "WRONG", None: "unproven"}[judged.equivalent]
        told = tuple(o.message for o in outputs if not o.equivalent) or judged.notes
    return {
        "state": state,
        "message": "" if state == "ok" else "; ".join(told),
        "found": result.summary.found,
        "folded": result.summary.folded,
        "merged": result.summary.merged,
        "kept": dict(sorted(kept.items())),
        "oracle": judged.oracle if judged else "none",
        "max_abs": worst.max_abs if worst and math.isfinite(worst.max_abs) else None,
        "tolerance": worst.tolerance if worst and math.isfinite(worst.tolerance) else None,
    }


def expected_counts(folder: Path) -> dict[str, int]:
    """Batch norms per file name, from a manifest.json in the folder or beside it; may be empty."""
    for candidate in (folder / "manifest.json", folder.parent / "manifest.json"):
        if candidate.is_file():
            entries = json.loads(candidate.read_text(encoding="utf-8"))
            return {e["file"]: e["batchnorm_nodes"] for e in entries if "batchnorm_nodes" in e}
    return {}


def run_folder(
    paths: list[Path], expected: dict[str, int], options: argparse.Namespace
) -> list[_process.Job]:
    """One record per model, in the order of `paths`."""
    jobs = [
        {
            "path": str(path.resolve()),
            "providers": options.provider or ["cpu"],
            "expected": expected.get(path.name, 0),
        }
        for path in paths
    ]
    outcomes = _process.run_all(__file__, jobs, workers=options.jobs, timeout=options.timeout)
    records: list[_process.Job] = []
    for path, outcome in zip(paths, outcomes, strict=True):
        record = dict(outcome.result)
        if outcome.status != "ok":
            record = {"state": "CRASHED", "message": outcome.message, "seconds": outcome.seconds}
        records.append({"model": path.name, **record})
    return records


def cells(record: _process.Job) -> list[str]:
    """One line of the table."""
    found = record.get("found")
    error = record.get("max_abs")
    return [
        _tables.shorten(record["model"], 44),
        "-" if found is None else str(found),
        "-" if found is None else str(record["folded"]),
        "-" if found is None else str(record["merged"]),
        ", ".join(f"{count} {reason}" for reason, count in record.get("kept", {}).items()) or "0",
        record.get("oracle", "-"),
        "-" if error is None else f"{error:.1e} / {record['tolerance'] or 0:.1e}",
        f"{record['seconds']:.1f}",
        record["state"],
    ]


def total_line(records: list[_process.Job]) -> str:
    """The sums, reasons and states included."""
    sums = {key: sum(r.get(key, 0) for r in records) for key in ("found", "folded", "merged")}
    reasons: Counter[str] = Counter()
    for record in records:
        reasons.update(record.get("kept", {}))
    kept = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    states = Counter(record["state"] for record in records)
    spread = ", ".join(f"{count} {state}" for state, count in states.most_common())
    return (
        f"{len(records)} models: {sums['found']} batch norms found, {sums['folded']} folded, "
        f"{sums['merged']} merged, {reasons.total()} kept ({kept or 'none'}); {spread}; "
        f"{sum(record['seconds'] for record in records):.0f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of .onnx files")
    parser.add_argument("--provider", action="append", choices=("cpu", "cuda"))
    parser.add_argument("--jobs", type=int, default=1, help="models at a time (default 1)")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds per model")
    parser.add_argument("--match", default="*.onnx", help="which files (default *.onnx)")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="records instead of a table")
    shape.add_argument("--markdown", action="store_true", help="the table for a README")
    options = parser.parse_args()

    paths = sorted(options.folder.glob(options.match))
    if not paths:
        parser.error(f"no {options.match} in {options.folder}")
    records = run_folder(paths, expected_counts(options.folder), options)
    if options.json:
        print(json.dumps(records, indent=1))
    else:
        table = _tables.markdown if options.markdown else _tables.text
        print(table(HEADER, [cells(record) for record in records]))
        for record in records:
            if record.get("message"):
                print(f"{record['state']}: {record['model']}: {record['message']}")
        print(total_line(records))
    return int(any(record["state"] in BAD for record in records))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        _process.serve(sys.argv[2], fold_one)
    else:
        sys.exit(main())
