"""What the public functions return: records that reports render, and how models are saved."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from bnopt.evidence import Agreement, Behaviour, Recalibrated, Statistics, Uncalibrated
from bnopt.findings import (
    Cause,
    Finding,
    Folded,
    Kept,
    Lowered,
    Merged,
    ModelInfo,
    Site,
    Summary,
    Validation,
)

Method: TypeAlias = Literal["precise", "sequential"]
Engine: TypeAlias = Literal["local", "dask"]


@dataclass(frozen=True, slots=True)
class Timings:
    """Wall seconds of each stage; 0 for a stage that did not run."""

    load: float = 0.0
    calibrate: float = 0.0
    plan: float = 0.0
    apply: float = 0.0
    validate: float = 0.0
    save: float = 0.0


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """How many nodes of each operator there are, subgraphs and functions included.

    Custom operators are written `domain::Operator`.
    """

    before: dict[str, int]
    after: dict[str, int]


@dataclass(frozen=True)
class InspectResult:
    """What `inspect` found; each site's decision says what `fold` would do.

    Attributes:
        info: What the model says of itself.
        sites: Every batch norm.
        summary: Counts of sites by decision.
        findings: What is wrong with the model.
        node_counts: Nodes by operator; before and after are the same.
        notes: What else a reader should know.
        causes: The findings by code, the most likely cause first.
        statistics: The numbers of every batch norm.
    """

    info: ModelInfo
    sites: tuple[Site, ...]
    summary: Summary
    findings: tuple[Finding, ...]
    node_counts: NodeCounts
    notes: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()
    statistics: tuple[Statistics, ...] = ()
    command: Literal["inspect"] = "inspect"


@dataclass(frozen=True)
class CheckResult:
    """What `check` found.

    Attributes:
        info: What the model says of itself.
        sites: Every batch norm; each decision says what `fold` would do.
        summary: Counts of sites by decision.
        findings: What is wrong with the model.
        causes: The findings by code, the most likely cause first.
        statistics: The numbers of every batch norm, with measured ones where data was given.
        behaviour: How the outputs depend on the batch; None if the model was not run.
        allowed: Codes whose errors do not count.
        samples: Samples of data that were run; 0 without data.
        seconds: Wall time.
        notes: What else a reader should know.
    """

    info: ModelInfo
    sites: tuple[Site, ...]
    summary: Summary
    findings: tuple[Finding, ...]
    causes: tuple[Cause, ...]
    statistics: tuple[Statistics, ...]
    behaviour: Behaviour | None
    allowed: tuple[str, ...] = ()
    samples: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    command: Literal["check"] = "check"

    @property
    def ok(self) -> bool:
        """Whether no finding is an error that is not allowed."""
        allowed = self.allowed
        return "all" in allowed or not any(
            finding.severity == "error" and finding.code not in allowed for finding in self.findings
        )


class _Saved:
    """A result that holds the model that was made."""

    model: Any

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the model that was made to `path`, all or nothing; what is there is replaced.

        Returns:
            The path.

        Raises:
            UsageError: `path` does not end in `.onnx`.
            SaveError: It cannot be written.
        """
        from bnopt import io

        model = self.model
        if hasattr(model, "SerializeToString"):
            model = io.from_proto(model)
        with io.stage(model, Path(path)) as staged:
            return staged.commit()


@dataclass(frozen=True)
class FoldResult(_Saved):
    """What `fold` did.

    Attributes:
        model: The folded model, of the kind that was given; a path gives an `onnx_ir.Model`.
        info: What the original says of itself.
        sites: Every batch norm of the original with its decision.
        findings: What is wrong with the original.
        summary: Counts of sites by decision.
        validation: The judge's verdict; None if it was not asked for, or nothing was folded.
        node_counts: Nodes by operator, before and after.
        bytes_before: Bytes of all weights of the original.
        bytes_after: Bytes of all weights of the folded model.
        notes: Weights copied, inputs removed, and the like.
        timings: Seconds per stage.
        output: The file that was written, or None.
        dry_run: Whether it was a dry run.
        bound: Inputs that were bound and removed, so that the two models do not take the same.
        causes: The findings by code, the most likely cause first.
        statistics: The numbers of every batch norm of the original.
        calibration: How its statistics were repaired from data before it was folded; None if they
            were not. Everything else is then about the repaired model, but for `info`.
    """

    model: Any
    info: ModelInfo
    sites: tuple[Site, ...]
    findings: tuple[Finding, ...]
    summary: Summary
    validation: Validation | None
    node_counts: NodeCounts
    bytes_before: int
    bytes_after: int
    notes: tuple[str, ...]
    timings: Timings
    output: Path | None
    dry_run: bool
    bound: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()
    statistics: tuple[Statistics, ...] = ()
    calibration: CalibrateResult | None = None
    command: Literal["fold"] = "fold"


@dataclass(frozen=True)
class CalibrateResult(_Saved):
    """What `calibrate` did.

    Attributes:
        model: The calibrated model, of the kind that was given; a path gives an `onnx_ir.Model`.
        info: What the original says of itself.
        layers: Every batch norm whose statistics were replaced, in graph order.
        kept: Every batch norm that was left as it was, with the reason.
        method: `precise` or `sequential`.
        engine: `local` or `dask`.
        provider: `cpu` or `cuda`.
        samples: Samples that were run in each pass.
        batch_size: Samples in a batch (the last one may be smaller); None if the data came in
            whole feeds of sizes of their own.
        seed: Of the order of the samples; None if they were taken as they come.
        passes: How often the samples were run.
        resumed: Batches that were taken from partial moments of an earlier run.
        proof: Comparison of the original with a rewritten model that holds its statistics, or those
            of the very batch both are run on; None if every batch norm was a node that stores them.
        notes: What else a reader should know.
        timings: Seconds: `load`, `plan` (rewriting), `calibrate` (measuring), `validate` (the
            proof), `save`.
        output: The file that was written, or None.
    """

    model: Any
    info: ModelInfo
    layers: tuple[Recalibrated, ...]
    kept: tuple[Uncalibrated, ...]
    method: Method
    engine: Engine
    provider: str
    samples: int
    batch_size: int | None
    seed: int | None
    passes: int
    resumed: int
    proof: Validation | None
    notes: tuple[str, ...]
    timings: Timings
    output: Path | None
    command: Literal["calibrate"] = "calibrate"


@dataclass(frozen=True)
class ExportResult(_Saved):
    """What `export` did.

    Attributes:
        model: The exported model as an `onnx_ir.Model`, folded unless that was not wanted.
        source: What was exported: a path, or the name of a Python object's class.
        kind: `saved-model`, `keras`, `frozen-graph`, `checkpoint` or `torch`.
        framework: Name and version of what converted it.
        info: What the converted model says of itself, before it was folded.
        variables: Variables of batch norms, as they were before they were frozen.
        findings: What was wrong with the source; those of the converted model are `fold`'s.
        fold: How the converted model was folded (and calibrated); None if that was not wanted.
        agreement: The model as it is written against the framework, per batch size and output; of
            the converted one if statistics were then taken from data, which the framework has not.
        calibration: How they were; None if they were not.
        notes: What else a reader should know.
        timings: Seconds: `load` (conversion), `validate` (against the framework), `save`.
        output: The file that was written, or None.
    """

    model: Any
    source: str
    kind: str
    framework: str
    info: ModelInfo | None
    variables: tuple[Any, ...]
    findings: tuple[Finding, ...]
    fold: FoldResult | None
    agreement: tuple[Agreement, ...]
    notes: tuple[str, ...]
    timings: Timings
    output: Path | None
    calibration: CalibrateResult | None = None
    command: Literal["export"] = "export"

    @property
    def ok(self) -> bool:
        """Whether the model agrees with the framework."""
        return all(one.ok for one in self.agreement)


@dataclass(frozen=True)
class ValidateResult:
    """What the command `validate` reports.

    Attributes:
        original: What the original says of itself.
        candidate: What the candidate says of itself.
        validation: The judge's verdict.
    """

    original: ModelInfo
    candidate: ModelInfo
    validation: Validation
    command: Literal["validate"] = "validate"


def summarise(sites: Iterable[Site]) -> Summary:
    """Counts of sites by decision."""
    kinds = Counter(type(site.decision) for site in sites)
    return Summary(
        found=sum(kinds.values()),
        folded=kinds[Folded],
        merged=kinds[Merged],
        lowered=kinds[Lowered],
        kept=kinds[Kept],
    )
