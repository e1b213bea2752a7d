"""Decisions in words: where a batch norm went, and why one stays."""

from __future__ import annotations

from bnopt.algebra.base import Refusal
from bnopt.algebra.units import Unit
from bnopt.findings import Folded, Merged
from bnopt.graph.scopes import label
from bnopt.graph.uses import describe
from bnopt.passes.fragment import Fragment

# Reasons that a host or an operator ahead gives, which say more than what stands behind.
_TELLING = frozenset(
    "data-type dynamic-weight non-finite overflow overridable padding quantized-weight "
    "shape-mismatch sign underflow".split()
)
_MAX_PLACES = 3


def went(unit: Unit, way: Fragment, *, upstream: bool) -> Folded | Merged:
    """The decision that carrying out `way` amounts to for `unit`."""
    hosts = [taken.request.node for taken in way.hosts.values()]
    places = [
        f"the {' and '.join(taken.absorption.parts)} of {describe(taken.request.node)}"
        for taken in way.hosts.values()
    ]
    merged = [(target.batch_norms or target.nodes)[0] for target in way.merged_into.values()]
    places += [describe(node) for node in merged]
    message = "into " + ", ".join(places[:_MAX_PLACES])
    if len(places) > _MAX_PLACES:
        message += f" and {len(places) - _MAX_PLACES} more"
    if not upstream:
        message += " ahead"
    changed = way.unit(unit)
    leaves_add = changed is not None and changed.affine is not None
    if leaves_add:
        message += "; the shift stays as an Add"
    if merged and not hosts:
        return Merged(label(merged[0]), message)
    return Folded(label(hosts[0]) if hosts else label(unit.nodes[0]), message, leaves_add)


def why_not(behind: Fragment | Refusal, ahead: Fragment | Refusal) -> Refusal:
    """One reason from those of both ways, neither of which can be gone."""
    assert isinstance(behind, Refusal)
    assert isinstance(ahead, Refusal)
    if ahead.reason in _TELLING and behind.reason not in _TELLING:
        return Refusal(ahead.reason, f"{ahead.message}; behind it {behind.message}")
    return Refusal(behind.reason, f"{behind.message}; ahead of it {ahead.message}")
