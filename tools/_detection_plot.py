"""The plot of docs/detection.md."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from _detection_report import Row

# Colours of a light page, and what a dark one has in their place.
INK, PAPER, GRID, WITHOUT, WITH, LOSS = (
    "#1f2329",
    "#fdfdfe",
    "#d8dce1",
    "#0a5cc2",
    "#b3470b",
    "#656d77",
)
DARK = {
    INK: "#e2e6eb",
    PAPER: "#14181d",
    GRID: "#363c44",
    WITHOUT: "#6cb0ff",
    WITH: "#ffa266",
    LOSS: "#a2abb6",
}
NEVER = 4e-4
"""Where n = 0 stands on the logarithmic axis."""

RIGHT = 20.0
RESIDUES = (0.99, 0.9, 0.5, 0.1, 0.001)


def draw(rows: Sequence[Row]) -> str:
    """SVG: for each decay the share caught and the accuracy lost against n (1 - d)."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "bnopt",  # the same drawing gives the same file
        "font.family": "sans-serif",
        "font.size": 9,
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.facecolor": PAPER,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": GRID,
        "legend.frameon": False,
    }
    with mpl.rc_context(style):
        decays = list(dict.fromkeys(row.decay for row in rows))
        figure = Figure(figsize=(9.5, 4.6), layout="constrained", facecolor=PAPER)
        axes = figure.subplots(
            2, len(decays), sharex=True, sharey="row", squeeze=False, height_ratios=(1, 1)
        )
        for column, decay in enumerate(decays):
            _column(axes[:, column], decay, [row for row in rows if row.decay == decay])
        axes[0][0].set_ylabel("caught, % of seeds")
        axes[1][0].set_ylabel("accuracy lost, points")
        figure.supxlabel("n (1 − d): steps in time constants of the moving average", fontsize=9)
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _with_dark(file.getvalue())


def _column(axes: Sequence, decay: float, rows: Sequence[Row]) -> None:
    upper, lower = axes
    x = [max(row.time, NEVER) for row in rows]
    for which, colour, marker, line, name in (
        ("without", WITHOUT, "o", "-", "caught without data"),
        ("with_data", WITH, "s", "--", "caught with 64 images"),
    ):
        y = [100 * row.caught(which) for row in rows]
        upper.plot(x, y, line, color=colour, marker=marker, markersize=4, label=name)
    lower.plot(x, [100 * row.loss for row in rows], "-", color=LOSS, marker="D", markersize=3.5)
    upper.set_title(f"decay {decay:g}", fontsize=10, pad=30)
    upper.set_ylim(-6, 106)
    for axis in axes:
        axis.set_xscale("log")
        axis.set_xlim(NEVER / 1.6, RIGHT)
        axis.set_xticks([NEVER, 0.001, 0.01, 0.1, 1, 10], ["0", ".001", ".01", ".1", "1", "10"])
        axis.minorticks_off()
        axis.grid(linewidth=0.6)
        axis.set_axisbelow(True)
    # d^n = e^(n log d), which is close to e^(-n (1 - d)).
    top = upper.secondary_xaxis("top")
    per_time = -math.log(decay) / (1 - decay)
    places = [-math.log(residue) / per_time for residue in RESIDUES]
    top.set_xticks(places, [f"{residue:g}" for residue in RESIDUES], fontsize=7)
    top.minorticks_off()
    top.set_xlabel("residue d^n", fontsize=7)


def _with_dark(svg: str) -> str:
    """The same drawing with a style sheet for readers that prefer a dark page."""
    swaps = "".join(
        f'[style*="{part}: {light}"]{{{part}:{dark} !important}}'
        for light, dark in DARK.items()
        for part in ("fill", "stroke")
    )
    sheet = f"<style>@media (prefers-color-scheme: dark){{{swaps}}}</style>"
    head, tag, rest = svg.partition("<defs>")
    return f"{head}{sheet}\n {tag}{rest}"
