"""The frozen records that every layer may name: sites, decisions, findings, comparisons.

A *site* is one batch normalization in a model. A *decision* says what bnopt did, or would do, with
it. Reports only render these records; nothing here computes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "info"]
GRAVITY: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}
"""Severities in order, the gravest first."""

REPAIRABLE = frozenset(
    "barely-updated batch-statistics decay-is-flag fast-average half-updated identical-statistics "
    "negative-variance never-updated non-finite one-step stale-statistics training-mode "
    "updates-not-run wrong-scope zero-debias".split()
)
"""Codes of findings that `calibrate` repairs, given samples like those of the training data."""

Form: TypeAlias = Literal["batch_normalization", "decomposed", "batch_statistics"]


@dataclass(frozen=True, slots=True)
class Folded:
    """The affine went into the weights of the host node `into`.

    Attributes:
        into: The host, or the first of several.
        message: All of them, and what went where.
        leaves_add: Whether only the scale went, and the shift stays as an Add.
    """

    into: str
    message: str = ""
    leaves_add: bool = False


@dataclass(frozen=True, slots=True)
class Merged:
    """The affine became part of another affine, at node `into`."""

    into: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Lowered:
    """The batch norm was rewritten in the plainer form `into`."""

    into: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """The batch norm stays. `reason` is a slug of `bnopt.reasons`; `message` names the place."""

    reason: str
    message: str


Decision: TypeAlias = Folded | Merged | Lowered | Kept


@dataclass(frozen=True, slots=True)
class Site:
    """One batch normalization.

    Attributes:
        id: Stable within a model: the scope, a colon, the name of the output value.
        name: The node's name, or its output's name where it has none.
        form: How it is written.
        scope: `main`, or the path of the subgraph or function it stands in.
        channels: Length C of its parameters; None where it cannot be known.
        decision: What was decided.
    """

    id: str
    name: str
    form: Form
    scope: str
    channels: int | None
    decision: Decision


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a rule has to say about a model or one of its sites.

    Attributes:
        code: The rule's stable slug; `bnopt explain CODE` documents it.
        severity: Errors stop `fold` unless allowed; warnings and infos never do.
        site: The id of the site, or None for the whole model.
        message: One line: what was found.
        fix: One line: what to do.
        evidence: The numbers behind it, JSON-ready.
    """

    code: str
    severity: Severity
    site: str | None
    message: str
    fix: str
    evidence: dict[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True)
class Cause:
    """All findings of one code, taken together.

    Attributes:
        code: The rule's slug.
        severity: The gravest of its findings.
        found: How many batch norms it concerns; 0 if it concerns the whole model.
        of: How many batch norms the model has.
        message: One line: what was found, in how many, and what most likely led to it.
        fix: One line: what to do.
    """

    code: str
    severity: Severity
    found: int
    of: int
    message: str
    fix: str


@dataclass(frozen=True, slots=True)
class Worst:
    """Where an output differs most.

    Attributes:
        index: Index of the element in the output array.
        channel: `index[1]` for an output of rank >= 2, else None.
        original: The original model's value there.
        candidate: The candidate's value there.
        reference: The float64 reference's value there, if there is one.
        run: Which run, for example `batch 1, normal x1, seed 0, cpu, optimizations off`.
    """

    index: tuple[int, ...]
    channel: int | None
    original: float
    candidate: float
    reference: float | None
    run: str


@dataclass(frozen=True, slots=True)
class OutputComparison:
    """One output, compared over all runs; the figures are those of its worst run.

    Attributes:
        name: The output's name.
        equivalent: Within tolerance in every run.
        max_abs: Largest |candidate - oracle|, in the output's units.
        max_rel: `max_abs` over the largest |oracle| of that run.
        ulp: `max_abs` in units in the last place, of the output's dtype, at the largest |oracle|.
        snr_db: Signal-to-noise ratio 10 log10(sum oracle^2 / sum error^2); inf if no error.
        tolerance: The absolute error that was allowed in that run.
        original_error: Largest |original - float64 reference|; None without a reference.
        noise_floor: Largest change of the original's output under one ulp of input noise.
        worst: The element behind `max_abs`; None where shapes or types differ.
        message: What is wrong, one line; empty if equivalent.
    """

    name: str
    equivalent: bool
    max_abs: float
    max_rel: float
    ulp: float
    snr_db: float
    tolerance: float
    original_error: float | None = None
    noise_floor: float | None = None
    worst: Worst | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class ProviderProof:
    """What really ran: the session's own word, not the list of what is installed.

    Attributes:
        name: As asked for: `cpu` or `cuda`.
        session_provider: The first entry of `session.get_providers()`.
        assignment: (execution provider, number of nodes) as the session assigned them, candidate
            model, default optimizations; empty where onnxruntime does not report it.
    """

    name: str
    session_provider: str
    assignment: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Validation:
    """The judge's verdict.

    Attributes:
        equivalent: True or False; None if nothing could run the model, so nothing is proven.
        oracle: `float64+onnxruntime`, `onnxruntime`, `float64`, `tolerance` (fixed) or `none`.
        providers: One proof per provider that ran.
        outputs: One comparison per output.
        runs: How many feeds were compared.
        batch_sizes: Batch sizes that were tried.
        notes: What a reader must know: a runtime that could not run the model, discarded runs.
        seconds: Wall time.
    """

    equivalent: bool | None
    oracle: str
    providers: tuple[ProviderProof, ...] = ()
    outputs: tuple[OutputComparison, ...] = ()
    runs: int = 0
    batch_sizes: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of sites by decision; `found` is their sum."""

    found: int = 0
    folded: int = 0
    merged: int = 0
    lowered: int = 0
    kept: int = 0


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model says of itself.

    Attributes:
        path: Where it was loaded from, or None for an in-memory model.
        ir_version: ONNX IR version.
        opset: Version per domain; the default domain is written `ai.onnx`.
        producer: Producer name and version.
        nodes: Number of nodes, subgraphs and functions included.
    """

    path: str | None
    ir_version: int
    opset: dict[str, int]
    producer: str
    nodes: int
