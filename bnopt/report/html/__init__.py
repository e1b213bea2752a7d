"""A result as one self-contained HTML file: verdict first, then causes, table and plots."""

from bnopt.io.target import check_target
from bnopt.report.html.page import Shown, page
from bnopt.report.html.write import write

__all__ = ["Shown", "check_target", "page", "write"]
