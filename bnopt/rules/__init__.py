"""The audit: what is wrong with the batch norms of a model, one rule a file."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from bnopt.errors import UsageError
from bnopt.evidence import Statistics
from bnopt.findings import Finding
from bnopt.rules import (
    barely_updated,
    batch_dependence,
    batch_statistics,
    channel_axis,
    constant_output,
    dead_channels,
    epsilon,
    exploding_scale,
    half_overflow,
    half_updated,
    identical_statistics,
    negative_variance,
    never_updated,
    non_finite,
    not_enough_data,
    one_step,
    parameter_shape,
    per_activation,
    stale_statistics,
    training_mode,
    training_switch,
    unrecoverable,
    unusual_output,
    wrong_data_range,
    wrong_scope,
    zero_debias,
    zero_gamma,
)
from bnopt.rules.base import Rule
from bnopt.rules.comparison import comparisons, wrong_range
from bnopt.rules.view import View

# What explains others comes before them.
RULES: tuple[Rule, ...] = tuple(
    Rule.of(module)
    for module in (
        zero_debias,
        wrong_scope,
        training_mode,
        batch_statistics,
        batch_dependence,
        training_switch,
        never_updated,
        half_updated,
        one_step,
        barely_updated,
        identical_statistics,
        wrong_data_range,
        stale_statistics,
        unusual_output,
        not_enough_data,
        unrecoverable,
        constant_output,
        non_finite,
        negative_variance,
        parameter_shape,
        half_overflow,
        exploding_scale,
        channel_axis,
        per_activation,
        dead_channels,
        zero_gamma,
        epsilon,
    )
)

__all__ = ["RULES", "Rule", "View", "check", "check_codes", "statistics"]


def check(
    view: View,
    *,
    select: Collection[str] = (),
    ignore: Collection[str] = (),
) -> tuple[Finding, ...]:
    """The findings of every rule that is selected and not ignored, in the order of the rules.

    Args:
        view: The model, and what running it has shown, if it was run.
        select: Codes of rules; none stands for all.
        ignore: Codes of rules to leave out.
    """
    chosen = (r for r in RULES if (not select or r.code in select) and r.code not in ignore)
    return tuple(finding for rule in chosen for finding in rule.check(view))


def check_codes(codes: Iterable[str], allowed: Iterable[str] = ()) -> None:
    """Refuse codes that no rule has; `allowed` may hold `all`.

    Raises:
        UsageError: One line that names the first unknown code.
    """
    known = {rule.code for rule in RULES}
    for code in codes:
        if code not in known:
            raise UsageError(f"no rule has the code '{code}'")
    for code in allowed:
        if code not in known and code != "all":
            raise UsageError(f"no rule has the code '{code}'")


def statistics(view: View) -> tuple[Statistics, ...]:
    """The numbers of every batch norm, with measured ones and a verdict where there are any."""
    measured = view.measured or {}
    found = comparisons(view)
    verdicts: dict[str, str] = {one.norm.site: one.verdict for one in found}
    if (first := wrong_range(found)) is not None:
        verdicts[first.norm.site] = "wrong-range"
    return tuple(
        replace(
            norm.statistics(),
            measured=measured.get(norm.site),
            verdict=verdicts.get(norm.site, ""),
        )
        for norm in view.norms
    )
