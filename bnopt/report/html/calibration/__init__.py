"""The page of a calibration: old statistics against those of the data."""

from bnopt.report.html.calibration.parts import parts, step_section

__all__ = ["parts", "step_section"]
