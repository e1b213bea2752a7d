"""From a model with wrong statistics, or none, to one with those of given data."""

from __future__ import annotations

from bnopt.remedy.repair import BATCH_MODES, Repaired, TrainingMode, repair
from bnopt.remedy.run import Wish, calibrated

__all__ = ["BATCH_MODES", "Repaired", "TrainingMode", "Wish", "calibrated", "repair"]
