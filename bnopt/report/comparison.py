"""The judge's verdict at the terminal: error against tolerance, where, and what really ran."""

from __future__ import annotations

import math

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from bnopt.findings import OutputComparison, ProviderProof, Validation
from bnopt.report.text import ORACLES, clean, number, plural

OUTPUT_ROWS = 20


def verdict(validation: Validation) -> Text:
    """`equivalent`, `NOT equivalent` or `equivalence not proven`."""
    if validation.equivalent is None:
        return Text("equivalence not proven", "bold yellow")
    if validation.equivalent:
        return Text("equivalent", "bold green")
    return Text("NOT equivalent", "bold red")


def comparison(validation: Validation) -> list[RenderableType]:
    """Outputs with error and tolerance, the worst element of each bad or only output, proofs."""
    parts: list[RenderableType] = []
    if validation.outputs:
        # What is wrong must not be cut off.
        ordered = sorted(validation.outputs, key=lambda output: output.equivalent)
        parts += [Text(), _outputs(ordered[:OUTPUT_ROWS])]
        if len(ordered) > OUTPUT_ROWS:
            parts.append(Text(f"... and {len(ordered) - OUTPUT_ROWS} more outputs", "dim"))
        for output in ordered[:OUTPUT_ROWS]:
            if not output.equivalent and output.message:
                parts.append(Text(f"{clean(output.name)}: {clean(output.message)}", "red"))
        worst = max(ordered, key=lambda output: (not output.equivalent, _ratio(output)))
        parts += _worst(worst)
    parts.append(Text())
    batches = ", ".join(map(str, validation.batch_sizes))
    runs = f"{plural(validation.runs, 'run')}{f', batch sizes {batches}' if batches else ''}"
    oracle = ORACLES.get(validation.oracle, validation.oracle)
    parts.append(Text(f"judged by {oracle}; {runs}", "dim"))
    parts += [_proof(proof) for proof in validation.providers]
    parts += [Text(f"note: {clean(note)}", "yellow") for note in validation.notes]
    return parts


def _outputs(outputs: list[OutputComparison]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("output", overflow="fold")
    for title in ("error", "tolerance", "relative", "ulp", "SNR dB"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("")
    for output in outputs:
        table.add_row(
            clean(output.name),
            number(output.max_abs),
            number(output.tolerance),
            number(output.max_rel),
            number(output.ulp),
            number(output.snr_db),
            Text("ok", "green") if output.equivalent else Text("DIFFERS", "bold red"),
        )
    return table


def _worst(output: OutputComparison) -> list[RenderableType]:
    worst = output.worst
    if worst is None:
        return []
    index = ", ".join(map(str, worst.index))
    channel = "" if worst.channel is None else f" (channel {worst.channel})"
    reference = "" if worst.reference is None else f", float64 {number(worst.reference, 9)}"
    text = (
        f"largest error at {clean(output.name)}[{index}]{channel}: "
        f"original {number(worst.original, 9)}, candidate {number(worst.candidate, 9)}{reference}; "
        f"{clean(worst.run)}"
    )
    return [Text(text, "dim")]


def _proof(proof: ProviderProof) -> Text:
    nodes = ", ".join(f"{plural(count, 'node')} on {clean(ep)}" for ep, count in proof.assignment)
    ran = f"; {nodes}" if nodes else "; node assignment not reported"
    return Text(f"{proof.name}: ran on {clean(proof.session_provider)}{ran}", "dim")


def _ratio(output: OutputComparison) -> float:
    ratio = output.max_abs / output.tolerance if output.tolerance > 0 else output.max_abs
    # NaN compares false with everything, which would hide it from max().
    return math.inf if math.isnan(ratio) else ratio
