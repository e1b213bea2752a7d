"""The tables of `tools/peers.py`."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import _tables
from _records import FAILURES, LOAD_FAULT, Record, Size

Records = Mapping[str, Sequence[Record]]
Table = Callable[[_tables.Row, Sequence[_tables.Row]], str]

TOTALS = (
    *("tool", "BN nodes", "decomposed", "left", "left where right"),
    *(state.lower() for state in FAILURES),
    *("not loadable", "unproven", "nodes", "weights MB", "median s", "process s", "max MiB"),
)
LEGEND = (
    "Batch norms left, as nodes + decomposed into Mul and Add. A result that is wrong, invalid or "
    "missing is marked; the last column is the smallest number of the right results of all tools "
    "but bnopt. Left out are {same} models with {had} batch norms, which no tool changes."
)


def left(records: Records, table: Table) -> str:
    """One row per model in which any tool folds: the batch norms that each tool leaves."""
    others, names = _others(records), _names(records)
    rows = [
        [
            names[row[0].model],
            _both(row[0].before),
            *(_cell(record) for record in row),
            str(best.size.left) if (best := best_of(row, records, others)) else "-",
        ]
        for row in _changed(records)
    ]
    first, changed = next(iter(records.values())), {row[0].model for row in _changed(records)}
    same = [record.before for record in first if record.model not in changed]
    legend = LEGEND.format(same=len(same), had=_both(_sum(same)))
    return f"{legend}\n\n{table(('model', 'had', *records, 'best other'), rows)}"


def sizes(records: Records, table: Table) -> str:
    """One row per such model: nodes and kilobytes of weights that each tool leaves."""
    names = _names(records)
    rows = [
        [
            names[row[0].model],
            _weight(row[0].before),
            *(_weight(record.after) if record.after else record.state for record in row),
        ]
        for row in _changed(records)
    ]
    return table(("model", "had", *records), rows)


def totals(records: Records, table: Table) -> str:
    """One row per tool; a model without a result counts as it was."""
    first = next(iter(records.values()))
    rows = [_total("the originals", [record.before for record in first])]
    rows += [_tool_total(tool, found) for tool, found in records.items()]
    best = [best_of(row, records, _others(records)) for row in zip(*records.values(), strict=True)]
    if any(best):
        pairs = zip(best, first, strict=True)
        found = [record.size if record else original.before for record, original in pairs]
        rows.append(_total("the best but bnopt, per model", found)[:5])
    width = len(TOTALS)
    return table(TOTALS, [[*row, *[""] * (width - len(row))] for row in rows])


def best_of(row: Sequence[Record], records: Records, tools: Sequence[str]) -> Record | None:
    """The right result of some tools that leaves the fewest batch norms of one model."""
    found = [record for tool, record in zip(records, row, strict=True) if tool in tools]
    right = [record for record in found if record.right]
    return min(right, key=lambda record: record.size.left, default=None)


def beaten(records: Records) -> list[str]:
    """The models on which bnopt leaves more batch norms than the best right other tool."""
    told: list[str] = []
    for row in zip(*records.values(), strict=True):
        best = best_of(row, records, _others(records))
        ours = next((r for tool, r in zip(records, row, strict=True) if tool == "bnopt"), None)
        if ours is None or best is None:
            continue
        if not ours.right or ours.size.left > best.size.left:
            tool = next(t for t, record in zip(records, row, strict=True) if record is best)
            told.append(f"{ours.model}: {_cell(ours)} by bnopt, {_cell(best)} by {tool}")
    return told


def kept(rows: Sequence[Record], names: Mapping[str, str], table: Table) -> str:
    """What bnopt keeps: every site, those of one model with one reason in one row."""
    cells: list[list[str]] = []
    for record in rows:
        groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for site, form, reason, message in record.kept:
            groups.setdefault((form, reason), []).append((site, message))
        for (form, reason), found in groups.items():
            sites = ", ".join(site for site, _ in found)
            told = found[0][1] + (", and likewise" if len(found) > 1 else "")
            cells.append([names[record.model], str(len(found)), form, sites, reason, told])
    return table(("model", "kept", "form", "sites", "reason", "message (of the first)"), cells)


def troubles(records: Records, table: Table) -> str:
    """Every result that is not right, or not proven."""
    names = _names(records)
    cells = [
        [tool, names[record.model], record.state, _PATH.sub("...", record.message)[:100]]
        for tool, rows in records.items()
        for record in rows
        if record.state != "ok"
    ]
    return table(("tool", "model", "state", "what was wrong"), cells)


# Messages of onnxruntime name files of the machine.
_PATH = re.compile(r"(?<![\w.])/[^\s:|]+")


def report(records: Records, table: Table, heading: str, versions: Mapping[str, str]) -> str:
    """Everything."""
    first = next(iter(records.values()))
    had = _both(_sum([record.before for record in first]))
    about = (
        f"{len(first)} models, {had} batch norms; Python {platform.python_version()}, "
        f"{os.cpu_count()} cores; {', '.join(f'{k} {v}' for k, v in versions.items())}"
    )
    parts = [
        f"{heading}Batch norms left\n\n{left(records, table)}",
        f"{heading}Nodes / kilobytes of weights left\n\n{sizes(records, table)}",
        f"{heading}Totals\n\n{totals(records, table)}\n\n{about}",
        f"{heading}Not right, or not proven\n\n{troubles(records, table)}",
    ]
    ours = records.get("bnopt")
    if ours:
        parts.append(f"{heading}bnopt against the best of the others\n\n{_answer(records)}")
        listed = kept(ours, _names(records), table)
        parts.append(f"{heading}What bnopt keeps\n\n{listed}\n\n{_remarks(ours)}")
    return "\n\n".join(parts)


def _answer(records: Records) -> str:
    worse = beaten(records)
    if not worse:
        return "On no model does bnopt leave more batch norms."
    return "bnopt leaves more, or is not right, on:\n\n" + "\n".join(f"- {line}" for line in worse)


def _remarks(ours: Sequence[Record]) -> str:
    shifts = [f"{record.model} ({record.shifts})" for record in ours if record.shifts]
    lines = [
        f"{sum(record.shifts for record in ours)} more are folded but for an Add of their shift"
        + (f": {', '.join(shifts)}." if shifts else "."),
    ]
    lines += [
        f"{record.model}: {len(record.kept)} kept by bnopt's own account, "
        f"{_both(record.after)} counted in the result."
        for record in ours
        if record.after and record.after.left != len(record.kept)
    ]
    return "\n".join(lines)


def _changed(records: Records) -> list[tuple[Record, ...]]:
    """The rows in which any tool leaves another number of batch norms than there were."""
    rows = zip(*records.values(), strict=True)
    return [row for row in rows if any(r.size.left != r.before.left for r in row)]


def _names(records: Records) -> dict[str, str]:
    """Short names of the models: what stands behind the last `__`, where that is unique."""
    models = [record.model for record in next(iter(records.values()))]
    ends = {model: model.rpartition("__")[2].removesuffix(".onnx") for model in models}
    times = Counter(ends.values())
    return {
        model: _tables.shorten(end if times[end] == 1 else model, 40) for model, end in ends.items()
    }


def _others(records: Records) -> list[str]:
    return [tool for tool in records if not tool.startswith("bnopt")]


def _both(size: Size) -> str:
    return f"{size.batch_norms}+{size.decomposed}"


def _cell(record: Record) -> str:
    if record.after is None:
        return record.state
    return _both(record.after) + ("" if record.state == "ok" else f" {record.state}")


def _weight(size: Size) -> str:
    return f"{size.nodes} / {size.weight_bytes / 1000:.0f}"


def _sum(found: Sequence[Size]) -> Size:
    return Size(
        sum(size.batch_norms for size in found),
        sum(size.decomposed for size in found),
        sum(size.nodes for size in found),
        sum(size.weight_bytes for size in found),
    )


def _total(name: str, found: Sequence[Size]) -> list[str]:
    """The row of a tool about which nothing is known but its results."""
    whole = _sum(found)
    cells = [str(whole.batch_norms), str(whole.decomposed), str(whole.left), str(whole.left)]
    weights = [str(whole.nodes), f"{whole.weight_bytes / 1e6:.1f}"]
    return [name, *cells, *[""] * 6, *weights]


def _tool_total(tool: str, rows: Sequence[Record]) -> list[str]:
    whole = _sum([record.size for record in rows])
    states = Counter(record.state for record in rows)
    times = [record.seconds for record in rows if record.seconds is not None]
    return [
        tool,
        str(whole.batch_norms),
        str(whole.decomposed),
        str(whole.left),
        str(sum((r.size if r.right else r.before).left for r in rows)),
        *(str(states[state]) for state in FAILURES),
        str(sum(r.state == "INVALID" and LOAD_FAULT in r.message for r in rows)),
        str(states["unproven"]),
        str(whole.nodes),
        f"{whole.weight_bytes / 1e6:.1f}",
        f"{statistics.median(times):.3f}" if times else "-",
        f"{statistics.median(record.process_seconds for record in rows):.2f}",
        f"{max(record.peak_mb for record in rows):.0f}",
    ]
