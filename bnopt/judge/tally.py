"""Collects judgements into a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field

from bnopt.findings import OutputComparison, ProviderProof
from bnopt.judge.verdict import Judged


@dataclass(slots=True)
class Tally:
    """What has been found so far; the verdict is read off it.

    Attributes:
        names: The declared outputs, in order.
        oracle: As in `Validation`.
        worst: Output name -> its judgement of the largest error to allowed error.
        proofs: One per provider.
        labels: Runs that were compared.
        batches: Their batch sizes.
        notes: In the order they came up.
        broken: The candidate is wrong whatever its figures say.
        unproven: Something that was asked for could not be tried, so nothing can pass.
    """

    names: list[str]
    oracle: str = "none"
    worst: dict[str, Judged] = field(default_factory=dict[str, Judged])
    proofs: list[ProviderProof] = field(default_factory=list[ProviderProof])
    labels: list[str] = field(default_factory=list[str])
    batches: list[int] = field(default_factory=list[int])
    notes: list[str] = field(default_factory=list[str])
    broken: bool = False
    unproven: bool = False

    def note(self, *notes: str) -> None:
        """Add notes."""
        self.notes += notes

    def add(self, judged: Judged) -> None:
        """Keep a judgement if it is the worst of its output."""
        name = judged.comparison.name
        if name not in self.worst or judged.ratio > self.worst[name].ratio:
            self.worst[name] = judged
        if judged.distrusted:
            self.note(
                f"output '{name}': the float64 reference and onnxruntime disagree about the "
                "original; being close to either was accepted"
            )

    def fail(self, reason: str) -> None:
        """The candidate is wrong without a figure."""
        self.broken = True
        self.note(reason)

    def miss(self, reason: str) -> None:
        """Something that was asked for could not be tried."""
        self.unproven = True
        self.note(reason)

    def equivalent(self) -> bool | None:
        """True, False, or None if nothing was compared or not all that was asked for."""
        if self.broken:
            return False
        if not all(judged.comparison.equivalent for judged in self.worst.values()):
            return False
        return None if self.unproven or not self.worst else True

    def comparisons(self) -> list[OutputComparison]:
        """One per output, the declared ones first."""
        order = {name: number for number, name in enumerate(self.names)}
        found = sorted(self.worst, key=lambda name: order.get(name, len(order)))
        return [self.worst[name].comparison for name in found]
