"""What only a fold has: the judge's comparison, nodes before and after, bytes, times."""

from __future__ import annotations

from bnopt.findings import OutputComparison, ProviderProof, Validation
from bnopt.report.html.markup import Cell, Column, badge, esc, name, note, short, table
from bnopt.report.text import ORACLES, number, plural
from bnopt.results import NodeCounts


def validation_section(validation: Validation | None) -> str:
    """Outputs with error and tolerance, and what really ran; empty without a verdict."""
    if validation is None:
        return ""
    oracle = esc(ORACLES.get(validation.oracle, validation.oracle))
    batches = ", ".join(map(str, validation.batch_sizes))
    sizes = f", batch sizes {batches}" if batches else ""
    parts = [_outputs(validation)] if validation.outputs else []
    parts.append(note(f"Judged by {oracle}; {plural(validation.runs, 'run')}{sizes}."))
    parts += [note(_proof(proof)) for proof in validation.providers]
    parts += [note(f"Note: {esc(text)}") for text in validation.notes]
    return "".join(parts)


def nodes_section(counts: NodeCounts) -> str:
    """Operators whose number changed, and the total."""
    every = sorted({*counts.before, *counts.after})
    pairs = [(op, counts.before.get(op, 0), counts.after.get(op, 0)) for op in every]
    rows = [(name(op), before, after) for op, before, after in pairs if before != after]
    same = len(pairs) - len(rows)
    rows.append(("<b>total</b>", sum(counts.before.values()), sum(counts.after.values())))
    columns = [
        Column("Operator"),
        Column("Before", numeric=True),
        Column("After", numeric=True),
        Column("Change", numeric=True),
    ]
    cells = [
        [Cell(title), Cell(str(before)), Cell(str(after)), Cell(_signed(after - before))]
        for title, before, after in rows
    ]
    remark = note(f"{plural(same, 'other operator')} did not change.") if same else ""
    return table(columns, cells, caption="Nodes before and after", narrow=True) + remark


def _signed(change: int) -> str:
    return f"{change:+d}".replace("-", "−") if change else "0"


def _outputs(validation: Validation) -> str:
    columns = [
        Column("Output"),
        Column("Verdict"),
        Column("Largest error", numeric=True, hint="largest |candidate - reference|"),
        Column("Tolerance", numeric=True, hint="the error that was allowed in that run"),
        Column("Relative", numeric=True, hint="over the largest value of the output"),
        Column("ulp", numeric=True, hint="in units in the last place, at the largest value"),
        Column("SNR, dB", numeric=True, hint="signal-to-noise ratio"),
        Column("Original's error", numeric=True, hint="of the original, against float64"),
        Column("Noise floor", numeric=True, hint="change under one ulp of input noise"),
        Column("Largest error at"),
    ]
    ordered = sorted(validation.outputs, key=lambda output: output.equivalent)
    return table(
        columns, [_output(output) for output in ordered], caption="Validation", sortable=True
    )


def _output(output: OutputComparison) -> list[Cell]:
    good = output.equivalent
    verdict = badge("good", "within") if good else badge("bad", "differs")
    message = f'<span class="sub">{esc(output.message)}</span>' if output.message else ""
    figures = (
        output.max_abs,
        output.tolerance,
        output.max_rel,
        output.ulp,
        output.snr_db,
        output.original_error,
        output.noise_floor,
    )
    return [
        Cell(name(output.name), output.name),
        Cell(verdict + message, "1" if good else "0"),
        *(Cell(short(figure), figure) for figure in figures),
        Cell(_worst(output)),
    ]


def _worst(output: OutputComparison) -> str:
    worst = output.worst
    if worst is None:
        return ""
    index = ", ".join(map(str, worst.index))
    reference = "" if worst.reference is None else f", float64 {number(worst.reference, 9)}"
    text = (
        f"original {number(worst.original, 9)}, candidate {number(worst.candidate, 9)}"
        f"{reference}; {worst.run}"
    )
    return f'[{esc(index)}]<span class="sub">{esc(text)}</span>'


def _proof(proof: ProviderProof) -> str:
    nodes = ", ".join(f"{plural(count, 'node')} on {ep}" for ep, count in proof.assignment)
    ran = nodes or "node assignment not reported"
    return esc(f"{proof.name}: ran on {proof.session_provider}; {ran}.")
