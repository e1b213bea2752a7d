"""One folder of models through bnopt and five other ONNX optimizers, judged by the same judge.

    python tools/peers.py ../shared/corpus/models [--repeat 3] [--markdown table.md]

The peers are installed, at the versions pinned below, into a virtual environment of their own
(`.peers-venv`), with this checkout beside them. Each model goes through each peer in a process of
its own, one at a time, in the same run. What each is asked to do:

- `bnopt`: `bnopt.fold(path, output=..., allow=("all",), validate=False)`;
- `bnopt+proof`: the same with validation, as the command line does it;
- `onnxoptimizer`: `optimize(model)`: its default fuse and elimination passes, in which is
  `fuse_bn_into_conv`;
- `onnxsim`: `simplify(path)`; `onnxslim`: `slim(path)`; `onnxscript`: `optimizer.optimize(model)`;
- `onnxruntime`: `optimized_model_filepath` at ORT_ENABLE_EXTENDED, the highest level whose result
  is not tied to one processor.

Then every result is judged: `INVALID` if onnx.checker or onnxruntime rejects it but took the
original; `WRONG` if `bnopt.validate` says that it is not equivalent; `unproven` if nothing can run
the model; `FAILED` for an exception, `CRASHED` for a signal or the time limit. Where a peer gave no
result, all batch norms of the model count as left. `not loadable` are those of the invalid results
that onnxruntime does not load either; the checker is stricter than it.

`s` is the time from reading the file to having written the result, imports left out; `process s`
is the whole process; both are medians over the repeats. `MiB` is the peak memory of the process.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import _process
import _tables
from _optimizers import PEERS, PINNED

ROOT = Path(__file__).resolve().parents[1]
LOAD_FAULT = "onnxruntime:"
FAILURES = ("WRONG", "INVALID", "FAILED", "CRASHED")


def work(job: _process.Job) -> _process.Job:
    """In the child: one of the three kinds of job."""
    kinds = {"facts": _facts, "optimize": _optimize, "judge": _judge}
    return kinds[job["kind"]](job)


def _optimize(job: _process.Job) -> _process.Job:
    optimize = PEERS[job["peer"]]()
    start = time.perf_counter()
    optimize(job["source"], job["target"])
    return {"seconds": time.perf_counter() - start}


def _facts(job: _process.Job) -> _process.Job:
    import _graphs

    path = Path(job["source"])
    return {"batch_norms": _graphs.count_batch_norms(path), "faults": _graphs.faults(path)}


def _judge(job: _process.Job) -> _process.Job:
    import _graphs

    import bnopt

    target = Path(job["target"])
    faults = _graphs.new_faults(job["faults"], _graphs.faults(target))
    left = _graphs.count_batch_norms(target)
    if faults:
        return {"left": left, "state": "INVALID", "message": "; ".join(reversed(faults))}
    if _graphs.same_graph(Path(job["source"]), target):
        return {"left": left, "state": "ok", "message": ""}
    judged = bnopt.validate(job["source"], job["target"])
    if judged.equivalent is None:
        return {"left": left, "state": "unproven", "message": "; ".join(judged.notes)}
    told = "; ".join(output.message for output in judged.outputs if not output.equivalent)
    return {"left": left, "state": "ok" if judged.equivalent else "WRONG", "message": told}


@dataclass(frozen=True)
class Record:
    """One model through one peer; times are None where the peer gave no result."""

    model: str
    batch_norms: int
    left: int
    state: str
    message: str
    seconds: float | None
    process_seconds: float
    peak_mb: float


class Bench:
    """The runs of one folder; `folder` holds the results until they are judged."""

    def __init__(self, folder: Path, python: str, options: argparse.Namespace) -> None:
        self.folder = folder
        self.python = python
        self.options = options
        self.verdicts: dict[tuple[str, str], _process.Job] = {}

    def child(self, job: _process.Job) -> _process.Outcome:
        """One job in the peers' environment."""
        return _process.run(__file__, job, python=self.python, timeout=self.options.timeout)

    def model(self, path: Path, peers: list[str]) -> dict[str, Record]:
        """One model through all peers, one after the other, then judged."""
        source = str(path.resolve())
        facts = self.child({"kind": "facts", "source": source})
        # A model that kills the judge's process can have no new fault found in its results.
        known = facts.result or {"batch_norms": 0, "faults": ["checker:", "onnxruntime:"]}
        return {peer: self._record(path, source, peer, known) for peer in peers}

    def _verdict(self, source: str, target: Path, faults: list[str]) -> _process.Job:
        """The judge's answer; a result that is the same to the byte is judged once."""
        key = (source, hashlib.sha256(target.read_bytes()).hexdigest())
        if key not in self.verdicts:
            job = {"kind": "judge", "source": source, "target": str(target), "faults": faults}
            outcome = self.child(job)
            # Only a result that kills the judge is held against the one that made it.
            state = "INVALID" if outcome.status == "crashed" else "unproven"
            self.verdicts[key] = outcome.result or {"state": state, "message": outcome.message}
        return self.verdicts[key]

    def _record(self, path: Path, source: str, peer: str, facts: _process.Job) -> Record:
        target = self.folder / f"{peer}-{path.name}"
        job = {"kind": "optimize", "peer": peer, "source": source, "target": str(target)}
        runs = [self.child(job) for _ in range(self.options.repeat)]
        broken = next((run for run in runs if run.status != "ok"), None)
        seconds, left = None, facts["batch_norms"]
        if broken or not target.exists():
            state = "CRASHED" if broken and broken.status in ("crashed", "timeout") else "FAILED"
            message = broken.message if broken else "it wrote no file"
        else:
            seconds = statistics.median(run.result["seconds"] for run in runs)
            judged = self._verdict(source, target, facts["faults"])
            state, message = judged["state"], judged["message"]
            left = judged.get("left", left)
        for written in self.folder.iterdir():
            written.unlink()
        return Record(
            model=path.name,
            batch_norms=facts["batch_norms"],
            left=left,
            state=state,
            message=message,
            seconds=seconds,
            process_seconds=statistics.median(run.seconds for run in runs),
            peak_mb=max(run.peak_mb for run in runs),
        )


def environment(folder: Path) -> str:
    """The peers' interpreter; makes its environment on first use, or when the pins changed."""
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join(PINNED)
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == wanted):
        print(f"installing the peers into {folder.name} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, "-e", f"{ROOT}[cpu]", *PINNED], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return str(python)


def peer_rows(records: list[Record]) -> list[list[str]]:
    """The table of one peer, a line per model."""
    return [
        [
            _tables.shorten(record.model, 44),
            str(record.batch_norms),
            str(record.left),
            record.state,
            "-" if record.seconds is None else f"{record.seconds:.3f}",
            f"{record.peak_mb:.0f}",
            record.message[:90] if record.state != "ok" else "",
        ]
        for record in records
    ]


def total_row(peer: str, records: list[Record], base: float | None) -> list[str]:
    """One peer's sums and medians; `base` is bnopt's median of seconds."""
    states = Counter(record.state for record in records)
    times = [record.seconds for record in records if record.seconds is not None]
    median = statistics.median(times) if times else None
    return [
        peer,
        str(sum(record.left for record in records)),
        *(str(states[state]) for state in FAILURES),
        str(sum(r.state == "INVALID" and LOAD_FAULT in r.message for r in records)),
        str(states["unproven"]),
        "-" if median is None else f"{median:.3f}",
        "-" if median is None or not base else f"{median / base:.2f}",
        f"{statistics.median(record.process_seconds for record in records):.2f}",
        f"{statistics.median(record.peak_mb for record in records):.0f}",
        f"{max(record.peak_mb for record in records):.0f}",
    ]


def report(records: dict[str, list[Record]], table: Callable[..., str], heading: str) -> str:
    """All tables: one per peer, then the totals."""
    header = ("model", "BNs", "left", "state", "s", "MiB", "what was wrong")
    parts = [
        f"{heading}{peer}\n\n{table(header, peer_rows(rows))}" for peer, rows in records.items()
    ]
    rows = records.get("bnopt", [])
    times = [record.seconds for record in rows if record.seconds is not None]
    base = statistics.median(times) if times else None
    header = (
        "peer",
        "BNs left",
        "wrong",
        "invalid",
        "failed",
        "crashed",
        "not loadable",
        "unproven",
    )
    header += ("median s", "x bnopt", "process s", "median MiB", "max MiB")
    totals = table(header, [total_row(peer, rows, base) for peer, rows in records.items()])
    first = next(iter(records.values()))
    about = (
        f"{len(first)} models, {sum(record.batch_norms for record in first)} BatchNormalization "
        f"nodes; Python {platform.python_version()}, {os.cpu_count()} cores; {', '.join(PINNED)}"
    )
    return "\n\n".join([*parts, f"{heading}totals\n\n{totals}", about])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of .onnx files")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--repeat", type=int, default=1, help="runs per model and peer")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds per run")
    parser.add_argument("--match", default="*.onnx", help="which files (default *.onnx)")
    parser.add_argument("--venv", type=Path, default=ROOT / ".peers-venv")
    parser.add_argument("--markdown", type=Path, help="also write the tables to this file")
    options = parser.parse_args()

    paths = sorted(options.folder.glob(options.match))
    if not paths or options.repeat < 1:
        parser.error(f"no {options.match} in {options.folder}" if not paths else "--repeat < 1")
    python = environment(options.venv.resolve())
    records: dict[str, list[Record]] = {peer: [] for peer in options.peers}
    with tempfile.TemporaryDirectory(prefix="bnopt-peers-") as folder:
        bench = Bench(Path(folder), python, options)
        for number, path in enumerate(paths, start=1):
            if sys.stderr.isatty():
                print(f"\r{number}/{len(paths)} ", end="", file=sys.stderr, flush=True)
            for peer, record in bench.model(path, options.peers).items():
                records[peer].append(record)
    print(report(records, _tables.text, "== "))
    if options.markdown:
        options.markdown.write_text(
            report(records, _tables.markdown, "## ") + "\n", encoding="utf-8"
        )
    ours = [*records.get("bnopt", []), *records.get("bnopt+proof", [])]
    return int(any(record.state in FAILURES for record in ours))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        _process.serve(sys.argv[2], work)
    else:
        sys.exit(main())
