"""One folder of models through bnopt and five other ONNX optimizers, judged by the same judge.

    python tools/peers.py ../shared/corpus/models [--markdown table.md] [--json records.json]

The peers are installed, at the versions pinned in `_optimizers.py`, into a virtual environment of
their own (`.peers-venv`), with this checkout beside them. Each model goes through each tool in a
process of its own, one at a time, small models first. What each is asked to do:

- `bnopt`: `bnopt.fold(path, output=..., allow=("all",), validate=False)`;
- `bnopt+proof`: the same with validation, as the command line does it (only if asked for);
- `onnxoptimizer`: `optimize(model)`: its default fuse and elimination passes, in which is
  `fuse_bn_into_conv`;
- `onnxsim`: `simplify(path)`; `onnxslim`: `slim(path)`; `onnxscript`: `optimizer.optimize(model)`;
- `onnxruntime`: `optimized_model_filepath` at ORT_ENABLE_EXTENDED, the highest level whose result
  is not tied to one processor.

In every result the batch norms left are counted without bnopt: BatchNormalization nodes, and those
in the form of Mul and Add (`_decomposed.py`). Then the result is judged: `INVALID` if onnx.checker
or onnxruntime rejects it but took the original; `WRONG` if `bnopt.validate` says that it is not
equivalent; `unproven` if nothing can run the model or the judge's time is up; `FAILED` for an
exception, `CRASHED` for a signal or the time limit. Without a result the model counts as it was.
`not loadable` are those of the invalid results that onnxruntime does not load either; the checker
is stricter than it. `left where right` counts what is wrong or invalid as not done.

`median s` is the time from reading the file to having written the result, imports left out;
`process s` is the whole process. Records are kept in `.out/peers` until a version, a limit or the
code behind them changes, so that a run can be resumed.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _peers_report
import _process
import _tables
from _optimizers import PEERS, PINNED
from _records import FAILURES, Record, Size, Store, digest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = Path(__file__).resolve().parent
PACKAGES = ("onnx", "onnxruntime", "onnx_ir", "numpy")


def work(job: _process.Job) -> _process.Job:
    """In the child: one of the kinds of job."""
    kinds = {"versions": _versions, "facts": _facts, "optimize": _optimize, "judge": _judge}
    return kinds[job["kind"]](job)


def _versions(_: _process.Job) -> _process.Job:
    from importlib.metadata import version

    return {package: version(package) for package in PACKAGES}


def _optimize(job: _process.Job) -> _process.Job:
    optimize = PEERS[job["peer"]]()
    start = time.perf_counter()
    result = optimize(job["source"], job["target"])
    seconds = time.perf_counter() - start
    return {"seconds": seconds, **_told(getattr(result, "sites", ()))}


def _told(sites: tuple[Any, ...]) -> _process.Job:
    """What bnopt says about its batch norms."""
    kept = [
        (site.id, site.form, site.decision.reason, site.decision.message)
        for site in sites
        if hasattr(site.decision, "reason")
    ]
    shifts = sum(getattr(site.decision, "leaves_add", False) for site in sites)
    return {"kept": kept, "shifts": shifts}


def _facts(job: _process.Job) -> _process.Job:
    import _graphs

    path = Path(job["source"])
    return {"size": _graphs.size(path), "faults": _graphs.faults(path)}


def _judge(job: _process.Job) -> _process.Job:
    import _graphs

    import bnopt

    faults = _graphs.new_faults(job["faults"], job["target_faults"])
    if faults:
        return {"state": "INVALID", "message": "; ".join(reversed(faults))}
    if _graphs.same_graph(Path(job["source"]), Path(job["target"])):
        return {"state": "ok", "message": ""}
    judged = bnopt.validate(job["source"], job["target"])
    if judged.equivalent is None:
        return {"state": "unproven", "message": "; ".join(judged.notes)}
    told = "; ".join(output.message for output in judged.outputs if not output.equivalent)
    return {"state": "ok" if judged.equivalent else "WRONG", "message": told}


class Bench:
    """The runs of one folder; `folder` holds the results until they are judged."""

    def __init__(self, folder: Path, python: str, options: argparse.Namespace) -> None:
        self.folder = folder
        self.python = python
        self.options = options
        self.versions = self.child({"kind": "versions"}).result
        self.store = Store(options.store)
        judge = [path for part in ("judge", "runtime") for path in _sources(part)]
        common = (*PINNED, str(sorted(self.versions.items())), digest(judge), digest(_own()))
        limits = f"{options.timeout:g} {options.judge_timeout:g} {options.repeat}"
        self.depends = (*common, limits)
        self.verdicts: dict[tuple[str, str], _process.Job] = {}

    def child(self, job: _process.Job, timeout: float | None = None) -> _process.Outcome:
        """One job in the peers' environment."""
        limit = timeout or self.options.timeout
        return _process.run(__file__, job, python=self.python, timeout=limit)

    def model(self, path: Path, peers: list[str]) -> dict[str, Record]:
        """One model through all peers, one after the other, each judged."""
        source, records = path.resolve(), {}
        facts: _process.Job | None = None
        for peer in peers:
            ours = (digest(_sources("")),) if peer.startswith("bnopt") else ()
            kept = self.store.path(peer, source, *self.depends, *ours)
            record = self.store.get(kept)
            if record is None:
                facts = facts or self._facts(source)
                record = self._record(source, peer, facts)
                self.store.put(kept, record)
            records[peer] = dataclasses.replace(record, model=path.name)
        return records

    def _facts(self, path: Path) -> _process.Job:
        found = self.child({"kind": "facts", "source": str(path)})
        # A model that kills the judge's process can have no new fault found in its results.
        nothing = {"batch_norms": 0, "decomposed": 0, "nodes": 0, "weight_bytes": 0}
        return found.result or {"size": nothing, "faults": ["checker:", "onnxruntime:"]}

    def _judged(self, source: Path, target: Path, faults: list[str]) -> _process.Job:
        """The judge's answer; a result that is the same to the byte is judged once."""
        key = (str(source), hashlib.sha256(target.read_bytes()).hexdigest())
        if key not in self.verdicts:
            self.verdicts[key] = self._verdict(source, target, faults)
        return self.verdicts[key]

    def _verdict(self, source: Path, target: Path, faults: list[str]) -> _process.Job:
        facts = self.child({"kind": "facts", "source": str(target)})
        if facts.status == "ok":
            job = {"kind": "judge", "source": str(source), "target": str(target)}
            job |= {"faults": faults, "target_faults": facts.result["faults"]}
            judged = self.child(job, self.options.judge_timeout)
            if judged.status == "ok":
                return {**judged.result, "size": facts.result["size"]}
            facts.result["message"] = judged.message
            crashed = judged.status == "crashed"
        else:
            crashed = facts.status == "crashed"
        # Only a result that kills the judge is held against the one that made it.
        state = "INVALID" if crashed else "unproven"
        message = facts.result.get("message", facts.message)
        return {
            "state": state,
            "message": f"the judge: {message}",
            "size": facts.result.get("size"),
        }

    def _record(self, source: Path, peer: str, facts: _process.Job) -> Record:
        target = self.folder / f"{peer}-{source.name}"
        job = {"kind": "optimize", "peer": peer, "source": str(source), "target": str(target)}
        runs = [self.child(job) for _ in range(self.options.repeat)]
        broken = next((run for run in runs if run.status != "ok"), None)
        seconds, after = None, None
        if broken or not target.exists():
            state = "CRASHED" if broken and broken.status in ("crashed", "timeout") else "FAILED"
            message = broken.message if broken else "it wrote no file"
        else:
            seconds = statistics.median(run.result["seconds"] for run in runs)
            judged = self._judged(source, target, facts["faults"])
            state, message, after = judged["state"], judged["message"], judged["size"]
        for written in self.folder.iterdir():
            written.unlink()
        return Record(
            model=source.name,
            before=Size(**facts["size"]),
            after=after and Size(**after),
            state=state,
            message=message,
            seconds=seconds,
            process_seconds=statistics.median(run.seconds for run in runs),
            peak_mb=max(run.peak_mb for run in runs),
            kept=tuple(map(tuple, runs[0].result.get("kept", ()))),
            shifts=runs[0].result.get("shifts", 0),
        )


def _sources(package: str) -> list[Path]:
    return list((ROOT / "bnopt" / package).rglob("*.py"))


def _own() -> list[Path]:
    return [TOOLS / f"{name}.py" for name in ("_decomposed", "_graphs", "_optimizers")]


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


def write(
    records: dict[str, list[Record]], versions: dict[str, str], options: argparse.Namespace
) -> None:
    """The files that were asked for."""
    if options.markdown:
        text = _peers_report.report(records, _tables.markdown, "## ", versions)
        options.markdown.write_text(text + "\n", encoding="utf-8")
    if options.json:
        told = {tool: [dataclasses.asdict(row) for row in rows] for tool, rows in records.items()}
        options.json.write_text(json.dumps({"versions": versions, "records": told}, indent=1))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of .onnx files")
    usual = [peer for peer in PEERS if peer != "bnopt+proof"]
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=usual)
    parser.add_argument("--repeat", type=int, default=1, help="runs per model and peer")
    parser.add_argument("--timeout", type=float, default=200.0, help="seconds per run")
    parser.add_argument("--judge-timeout", type=float, default=300.0, help="seconds per verdict")
    parser.add_argument("--match", default="*.onnx", help="which files (default *.onnx)")
    parser.add_argument("--venv", type=Path, default=ROOT / ".peers-venv")
    parser.add_argument("--store", type=Path, default=ROOT / ".out" / "peers", help="the records")
    parser.add_argument("--markdown", type=Path, help="also write the tables to this file")
    parser.add_argument("--json", type=Path, help="also write the records to this file")
    options = parser.parse_args()

    paths = sorted(options.folder.glob(options.match), key=lambda p: (p.stat().st_size, p.name))
    if not paths or options.repeat < 1:
        parser.error(f"no {options.match} in {options.folder}" if not paths else "--repeat < 1")
    python = environment(options.venv.resolve())
    records: dict[str, list[Record]] = {peer: [] for peer in options.peers}
    with tempfile.TemporaryDirectory(prefix="bnopt-peers-") as folder:
        bench = Bench(Path(folder), python, options)
        for number, path in enumerate(paths, start=1):
            for peer, record in bench.model(path, options.peers).items():
                records[peer].append(record)
            told = ", ".join(f"{peer} {rows[-1].state}" for peer, rows in records.items())
            print(f"{number}/{len(paths)} {path.name}: {told}", file=sys.stderr, flush=True)
            write(records, bench.versions, options)
    print(_peers_report.report(records, _tables.text, "== ", bench.versions))
    ours = [*records.get("bnopt", []), *records.get("bnopt+proof", [])]
    return int(any(record.state in FAILURES for record in ours))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        _process.serve(sys.argv[2], work)
    else:
        sys.exit(main())
