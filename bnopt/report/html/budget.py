"""How much of a page plots may take: how many batch norms have some, and with how many points."""

from __future__ import annotations

from collections.abc import Iterable

from bnopt.report.html.markup import note

# Together these keep the page of 300 batch norms with 2048 channels each below 3 MB.
DRAWN_LAYERS = 300
_POINTS = 36_000
_MOST_POINTS, _FEWEST_POINTS = 1024, 80


def points_each(count: int) -> int:
    """How many points the plots of each of `count` batch norms may have."""
    return min(_MOST_POINTS, max(_FEWEST_POINTS, _POINTS // max(count, 1)))


def thinned(plotted: Iterable[int | None], most: int, what: str, first: str) -> str:
    """What the plots leave out, in small print; empty if nothing.

    Args:
        plotted: For each batch norm how many channels have two numbers to compare; None for none.
        most: Points that a plot may have.
        what: What is plotted.
        first: Which batch norms have plots before others.
    """
    sizes = list(plotted)
    remarks: list[str] = []
    if any(size is not None and size > most for size in sizes):
        remarks.append(
            f"Plots of {what} show at most {most} channels of a batch norm: the half that is "
            "furthest off, and an even selection of the others."
        )
    if len(sizes) > DRAWN_LAYERS:
        remarks.append(
            f"Plots were drawn for {DRAWN_LAYERS} of {len(sizes)} batch norms, {first} first."
        )
    if not remarks:
        return ""
    return note(f"{' '.join(remarks)} Ranges, distributions and the table use all channels.")
