"""The page of an export: its source, the variables, the framework, and the fold's page below."""

from bnopt.report.html.export.parts import parts

__all__ = ["parts"]
