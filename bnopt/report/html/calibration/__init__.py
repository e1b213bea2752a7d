"""The page of a calibration: old statistics against those of the data."""

from bnopt.report.html.calibration.parts import facts_of, parts, step_section

__all__ = ["facts_of", "parts", "step_section"]
