"""Results made by hand, for the tests of the reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from bnopt.evidence import (
    Agreement,
    Behaviour,
    Measured,
    OutputBehaviour,
    Recalibrated,
    Statistics,
    Uncalibrated,
)
from bnopt.findings import (
    Cause,
    Finding,
    Folded,
    Kept,
    Merged,
    ModelInfo,
    OutputComparison,
    ProviderProof,
    Site,
    Summary,
    Validation,
    Worst,
)
from bnopt.frontends.records import Variable
from bnopt.results import (
    CalibrateResult,
    CheckResult,
    ExportResult,
    FoldResult,
    InspectResult,
    NodeCounts,
    Timings,
    ValidateResult,
)

Result = TypeVar("Result", CheckResult, FoldResult, InspectResult)

INFO = ModelInfo("/models/net.onnx", 8, {"ai.onnx": 17, "com.microsoft": 1}, "pytorch 2.5", 176)

WORST = Worst((0, 3, 1, 2), 3, 1.5, 1.75, 1.5000001, "batch 1, normal x1, seed 0, cpu")

GOOD = OutputComparison("y", True, 1.2e-7, 3e-7, 1.5, float("inf"), 4e-6, worst=WORST)

BAD = OutputComparison(
    "z", False, 0.25, 0.1, 1e6, 12.0, 4e-6, 1e-7, 2e-7, WORST, "channel 3 differs by 0.25"
)


def validation(*outputs: OutputComparison) -> Validation:
    """A verdict over `outputs`."""
    proofs = (ProviderProof("cpu", "CPUExecutionProvider", (("CPUExecutionProvider", 70),)),)
    good = all(output.equivalent for output in outputs)
    return Validation(good, "float64+onnxruntime", proofs, outputs, 12, (1, 3), (), 1.5)


def site(number: int, kept: bool = False) -> Site:
    """A batch norm."""
    decision = Kept("not-linear", "Relu 'r' stands in front") if kept else Folded(f"conv{number}")
    return Site(f"main:y{number}", f"bn{number}", "batch_normalization", "main", 64, decision)


def fold_result(folded: int = 2, kept: int = 1, **changes: object) -> FoldResult:
    """A fold of `folded` sites that kept `kept`."""
    sites = (
        *(site(i) for i in range(folded)),
        *(site(i, kept=True) for i in range(folded, folded + kept)),
    )
    result = FoldResult(
        model=None,
        info=INFO,
        sites=sites,
        findings=(),
        summary=Summary(len(sites), folded, 0, 0, kept),
        validation=validation(GOOD),
        node_counts=NodeCounts(
            {"BatchNormalization": folded + kept, "Conv": folded, "Relu": 3},
            {"BatchNormalization": kept, "Conv": folded, "Relu": 3},
        ),
        bytes_before=97_500_000,
        bytes_after=97_300_000,
        notes=("weight 'w' was copied: another node reads it",),
        timings=Timings(load=0.5, plan=0.01, apply=0.02, validate=12.3, save=0.4),
        output=Path("/models/net.folded.onnx"),
        dry_run=False,
    )
    return with_causes(replace(result, **changes))


def with_causes(result: Result) -> Result:
    """The same with one cause for each code among its findings."""
    causes = {
        f.code: Cause(f.code, f.severity, 1, len(result.sites), f.message, f.fix)
        for f in result.findings
    }
    return replace(result, causes=tuple(causes.values()))


def finding(severity: str = "error", **changes: object) -> Finding:
    """A finding on the first site."""
    made = Finding(
        "training-mode",
        severity,  # type: ignore[arg-type]
        "main:y0",
        "training_mode=1",
        "call model.eval() before export",
        {"value": float("nan")},
    )
    return replace(made, **changes)


def inspect_result(**changes: object) -> InspectResult:
    """An inspection that finds one batch norm."""
    counts = NodeCounts({"BatchNormalization": 1}, {"BatchNormalization": 1})
    made = InspectResult(INFO, (site(0),), Summary(1, 1), (), counts)
    return with_causes(replace(made, **changes))


def validate_result(*outputs: OutputComparison) -> ValidateResult:
    """A comparison."""
    return ValidateResult(INFO, replace(INFO, path="/models/other.onnx"), validation(*outputs))


def merged_site() -> Site:
    """A batch norm that became part of another."""
    return replace(site(7), decision=Merged("bn8"))


BEHAVIOUR = Behaviour(8, (OutputBehaviour("y", True, 1e-7, 2e-7, None, 0.5),), ("a note",))

STATISTICS = Statistics(
    "main:y0", (1.0, 2.0), None, (0.0, 0.5), (1.0, float("inf")), 1e-3, None,
    Measured(64, 4096, (0.1, 0.2), (1.1, 1.2)), "stale",
)  # fmt: skip


def check_result(found: int = 0, of: int = 26, **changes: object) -> CheckResult:
    """A check of `of` batch norms, `found` of which are in training mode."""
    findings = tuple(
        finding(site=f"main:y{number}", message=f"mode {number} is wrong")
        for number in range(found)
    )
    message = f"{found} of {of} batch norms run in training mode: eval() was not called"
    causes = (Cause("training-mode", "error", found, of, message, "call eval()"),) if found else ()
    made = CheckResult(
        info=INFO,
        sites=tuple(site(number) for number in range(of)),
        summary=Summary(of, of),
        findings=findings,
        causes=causes,
        statistics=(STATISTICS,),
        behaviour=BEHAVIOUR,
        samples=64,
        seconds=1.25,
        notes=("a note",),
    )
    return replace(made, **changes)


def recalibrated(number: int = 0, off: float | None = 3.0, **changes: object) -> Recalibrated:
    """Two channels: the old mean of 0 and variance of 1 were off; without `off`, none were."""
    made = Recalibrated(
        site=f"main:y{number}",
        name=f"bn{number}",
        form="batch_statistics" if off is None else "batch_normalization",
        depth=number,
        count=32_000,
        epsilon=1e-3,
        old_mean=None if off is None else (0.0, 0.0),
        old_variance=None if off is None else (1.0, 1.0),
        mean=(4.0, -8.0),
        variance=(3.999, 15.999),
        gamma=(1.0, 1.5),
        beta=None,
        shift=None if off is None else (2.0, -2.5),
        ratio=None if off is None else (0.5, 0.25),
        off=off,
    )
    return replace(made, **changes)


KEPT = Uncalibrated("main:z", "bn_z", "batch_normalization", "data-type", "'bn_z' is of no type")


def calibrate_result(count: int = 5, **changes: object) -> CalibrateResult:
    """A calibration of `count` batch norms, the later the worse, that kept one."""
    made = CalibrateResult(
        model=None,
        info=INFO,
        layers=tuple(recalibrated(number, 0.5 * (number + 1)) for number in range(count)),
        kept=(KEPT,),
        method="precise",
        engine="local",
        provider="cpu",
        samples=500,
        batch_size=32,
        seed=7,
        passes=1,
        resumed=0,
        proof=None,
        notes=("a note",),
        timings=Timings(load=0.5, calibrate=12.3, plan=0.25, save=0.4),
        output=Path("/models/net.calibrated.onnx"),
    )
    return replace(made, **changes)


VARIABLES = (
    Variable("bn0/gamma", "gamma", (64,), False, 0.5, 1.5),
    Variable("bn0/beta", "beta", (64,), None, -0.25, 0.25),
    Variable("bn0/moving_mean", "moving_mean", (64,), True, 0.0, 0.0),
    Variable("bn0/moving_variance", "moving_variance", (64,), True, 1.0, 1.0),
    Variable("bn1/moving_mean", "moving_mean", (2, 3), False, -2.0, float("inf")),
    Variable("bn1/num_batches_tracked", "steps", (), True, 0.0, float("nan")),
)


def export_result(**changes: object) -> ExportResult:
    """An export that was written and agrees."""
    made = ExportResult(
        model=None,
        source="run/model.ckpt.meta",
        kind="checkpoint",
        framework="tensorflow 2.21.0, tf2onnx 1.17.0",
        info=replace(INFO, path=None),
        variables=VARIABLES,
        findings=(),
        fold=fold_result(output=None, notes=("a note", "a weight was copied")),
        agreement=(
            Agreement(1, "y", 1e-6, 1e-7, 1e-3, True),
            Agreement(8, "y", 3e-6, 3e-7, 1e-3, True),
        ),
        notes=("a note", "2 update ops were pruned"),
        timings=Timings(load=8.0, validate=0.5, save=0.25),
        output=Path("/models/net.onnx"),
    )
    return replace(made, **changes)


def source_finding(severity: str = "error", **changes: object) -> Finding:
    """A finding in what was exported, which names a scope of the framework."""
    made = Finding(
        "never-updated", severity, "bn0", "'bn0' was never updated", "train it", {"rows": 64}
    )  # type: ignore[arg-type]
    return replace(made, **changes)
