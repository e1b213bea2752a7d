"""The judge: do two models compute the same thing?

See docs/judge.md for how it decides and what it was measured to catch.
"""

from __future__ import annotations

from bnopt.judge.judge import compare_models

__all__ = ["compare_models"]
