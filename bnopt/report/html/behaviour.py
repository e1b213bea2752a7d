"""What running the model on a batch and on its samples has shown."""

from __future__ import annotations

from bnopt.evidence import Behaviour
from bnopt.report.html.markup import Cell, Column, esc, name, note, short, table
from bnopt.report.text import plural


def behaviour_section(behaviour: Behaviour | None) -> str:
    """One row for each output; empty if the model was not run."""
    if behaviour is None:
        return ""
    columns = [
        Column("Output"),
        Column("Noise floor", numeric=True, hint="change under one ulp of input noise"),
        Column("Alone against in a batch", numeric=True, hint="largest difference"),
        Column("Other neighbours", numeric=True, hint="change when the others are replaced"),
        Column("Between samples", numeric=True, hint="0 if the output ignores the input"),
    ]
    rows = [
        [
            Cell(name(output.name), output.name),
            *(
                Cell(short(value), value)
                for value in (output.noise, output.alone, output.neighbours, output.spread)
            ),
        ]
        for output in behaviour.outputs
    ]
    caption = "How the outputs depend on the batch"
    shown = table(columns, rows, caption=caption, sortable=True) if rows else ""
    about = note(
        f"Run on a batch of {plural(behaviour.batch, 'sample')}. Differences are relative to the "
        "largest value of the output. A sample should give the same alone, and with other "
        "neighbours, up to the noise floor."
    )
    return shown + about + "".join(note(f"Note: {esc(text)}") for text in behaviour.notes)
