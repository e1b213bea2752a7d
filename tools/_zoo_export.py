"""Takes one saved program of the zoo through bnopt: export, check, repair, compare."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _process
import numpy as np
from _zoo_report import Row, Taken
from zoo.catalog import PROGRAMS
from zoo.program import Program, Saved

if TYPE_CHECKING:
    from bnopt import ExportResult
    from bnopt.findings import Finding

SEVERITIES = ("info", "warning", "error")


def take(job: _process.Job) -> _process.Job:
    """The row of the program in `job["folder"]`, as JSON."""
    from bnopt.errors import BnoptError

    program = next(program for program in PROGRAMS if program.name == job["name"])
    way = Way(program, Path(job["folder"]))
    told = {"name": program.name, "kind": way.saved.kind, "accuracy": way.saved.accuracy}
    repaired: Taken | None = None
    try:
        export, off = way.export()
    except BnoptError as error:
        return asdict(Row(**told, export=Taken(error=error.message)))
    try:
        repaired = way.repair()
    except BnoptError as error:
        repaired = Taken(error=error.message)
    return asdict(Row(**told, export=export, off=off, repaired=repaired))


class Way:
    """What is done with one program.

    Args:
        program: What it is.
        folder: Where it was trained; models are written there.
    """

    def __init__(self, program: Program, folder: Path) -> None:
        self.saved = Saved.read(folder)
        self._program = program
        self._folder = folder

    def export(self) -> tuple[Taken, dict[str, float]]:
        """Export it as it is, and check it on the samples; a wrong one with its findings allowed.

        Returns:
            What came of it, and how far it is from TensorFlow at each batch size.

        Raises:
            BnoptError: As `bnopt.export` and `bnopt.check` raise it.
        """
        import bnopt

        bound = {} if self._program.repair == "set-inputs" else self.saved.set_inputs
        model = self._folder / "model.onnx"
        raw = self._bnopt("model.onnx", set_inputs=bound, fold=False, allow=("all",))
        checked = bnopt.check(model, data=self._folder / self.saved.samples)
        findings = (*raw.findings, *checked.findings)
        if self._program.mistake is not None and self._program.repair != "export":
            taken = Taken(_gravest(findings), checked.summary.found, accuracy=self._read(model))
            return taken, _off(raw)
        result = self._bnopt("exported.onnx", set_inputs=bound)
        return self._taken(result, "exported.onnx", findings), _off(result)

    def repair(self) -> Taken | None:
        """Export it once more, in the way that undoes its mistake.

        Raises:
            BnoptError: As `bnopt.export` raises it.
        """
        options: dict[str, Any] = {"set_inputs": self.saved.set_inputs}
        match self._program.repair:
            case "calibrate":
                options["data"] = self._folder / self.saved.samples
                options["training_mode"] = "eval"
            case "set-inputs":
                pass
            case _:
                return None
        result = self._bnopt("repaired.onnx", **options)
        return self._taken(result, "repaired.onnx", result.fold.findings if result.fold else ())

    def _bnopt(self, name: str, **options: Any) -> ExportResult:
        import bnopt

        return bnopt.export(
            self._folder / self.saved.source,
            output=self._folder / name,
            kind=self.saved.kind,
            inputs=self.saved.inputs or None,
            outputs=self.saved.outputs or None,
            validate=not self._program.random,
            **options,
        )

    def _taken(self, result: ExportResult, name: str, findings: Iterable[Finding]) -> Taken:
        assert result.fold is not None
        kept = [getattr(site.decision, "reason", "") for site in result.fold.sites]
        summary = result.fold.summary
        return Taken(
            findings=_gravest(findings),
            found=summary.found,
            folded=summary.folded + summary.merged,
            kept=[reason for reason in kept if reason],
            accuracy=self._read(self._folder / name),
        )

    def _read(self, path: Path) -> float:
        """Share of the test answers that are right, one image at a time; a switch is off."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        inputs = session.get_inputs()
        fed = {value.name: np.array(False) for value in inputs if value.type == "tensor(bool)"}
        image = next(value.name for value in inputs if value.name not in fed)
        with np.load(self._folder / self.saved.tests) as arrays:
            images, labels = arrays["images"], arrays["labels"]
        answers = [session.run(None, {image: one[None], **fed})[0][0] for one in images]
        return float((np.stack(answers).argmax(axis=-1) == labels).mean())


def _gravest(findings: Iterable[Finding]) -> dict[str, str]:
    """Code -> gravest severity."""
    found: dict[str, str] = {}
    for finding in findings:
        known = found.get(finding.code, "info")
        found[finding.code] = max(known, finding.severity, key=SEVERITIES.index)
    return found


def _off(result: ExportResult) -> dict[str, float]:
    """Batch size -> largest difference from TensorFlow over its largest output."""
    off: dict[str, float] = {}
    for one in result.agreement:
        off[str(one.batch)] = max(off.get(str(one.batch), 0.0), one.max_rel)
    return off
