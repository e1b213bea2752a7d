"""A pytest plugin: Hypothesis stops at the first failing example instead of shrinking it.

A mutant is dead as soon as one example fails; the examples are those of an ordinary run.
"""

from __future__ import annotations

from hypothesis import Phase, settings

NAME = "first-failure"
settings.register_profile(
    NAME, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate)
)
