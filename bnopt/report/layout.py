"""Pieces that every text for the terminal is made of: lines, tables, what comes next."""

from __future__ import annotations

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bnopt.findings import Kept, ModelInfo, Site
from bnopt.report.text import clean, plural, short_path

WIDTH = 80


def line(text: str, style: str = "") -> Text:
    """A line that is wrapped where it must be."""
    made = Text(overflow="fold")
    return made.append(text, style)


def indented(text: Text) -> RenderableType:
    """A line two columns to the right, what is wrapped included."""
    return Padding(text, (0, 0, 0, 2))


def table(*columns: str) -> Table:
    """A table without lines; a column whose title ends in `>` is aligned to the right."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in columns:
        right = title.endswith(">")
        made.add_column(
            title.rstrip(">"),
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=right,
        )
    return made


def about(info: ModelInfo) -> Text:
    """One line on what a model says of itself."""
    opset = ", ".join(
        str(version) if domain == "ai.onnx" else f"{clean(domain)} {version}"
        for domain, version in info.opset.items()
    )
    name = clean(short_path(info.path)) if info.path else "model in memory"
    made = f", {clean(info.producer)}" if info.producer else ""
    nodes = plural(info.nodes, "node")
    return line(f"{name}: IR {info.ir_version}, opset {opset}{made}, {nodes}", "dim")


def notes(texts: tuple[str, ...]) -> list[RenderableType]:
    """A line for each note, behind an empty one."""
    lines = [line(f"note: {clean(text)}", "dim") for text in texts]
    return [Text(), *lines] if lines else []


def next_step(command: str) -> list[RenderableType]:
    """The command to run next, if there is one."""
    return [Text(), line("next: ", "dim").append(clean(command), "bold")] if command else []


def first_reason(sites: tuple[Site, ...]) -> str:
    """The reason of the first batch norm that is kept; there must be one."""
    return next(site.decision.reason for site in sites if isinstance(site.decision, Kept))
