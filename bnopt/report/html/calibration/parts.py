"""What stands on the page of a calibration, and on that of a fold that began with one."""

from __future__ import annotations

from bnopt.report.html.calibration.details import details_section
from bnopt.report.html.calibration.layers import moved
from bnopt.report.html.calibration.overview import overview
from bnopt.report.html.calibration.table import kept_table, layer_table
from bnopt.report.html.calibration.verdict import verdict
from bnopt.report.html.facts import Facts, model_facts, written_fact
from bnopt.report.html.markup import esc, facts, note, section, sentence
from bnopt.report.html.proof import validation_section
from bnopt.report.recalibrated import counted, how, proven, stage_seconds, were_right
from bnopt.report.text import stages
from bnopt.results import CalibrateResult


def parts(result: CalibrateResult, stopped: bool) -> list[str]:
    """The page of a calibration, below its name."""
    layers = moved(result)
    shown = [
        verdict(result, stopped),
        facts([*model_facts(result.info), *_facts(result)]),
        section("Overview", overview(layers)),
        section("All calibrated batch norms", layer_table(layers, linked=True)),
        section("Left as they were", kept_table(result.kept)),
    ]
    if result.proof is not None:
        shown.append(section("Proof of the rewriting", validation_section(result.proof)))
    shown.append(section("One by one", details_section(layers)))
    return shown


def _facts(result: CalibrateResult) -> Facts:
    size, seed = result.batch_size, result.seed
    return [
        ("Batch norms", str(len(result.layers) + len(result.kept))),
        ("Samples of data", str(result.samples)),
        ("Method", result.method),
        ("Engine", result.engine),
        ("Provider", esc(result.provider)),
        ("Batch size", "as it came" if size is None else str(size)),
        ("Order", "as it came" if seed is None else f"shuffled, seed {seed}"),
        ("Passes", str(result.passes)),
        ("Batches resumed", str(result.resumed or "")),
        written_fact(result.output),
        ("Time", stages(stage_seconds(result))),
    ]


def step_section(result: CalibrateResult) -> str:
    """A calibration that was a step of something else: a sentence and the tables."""
    right = "; the statistics were already the data's" if were_right(result) else ""
    text = f"Calibrated {counted(result)}{right}. {sentence(how(result))}"
    proof = "" if result.proof is None else note(esc(sentence(proven(result.proof))))
    tables = layer_table(moved(result), linked=False) + kept_table(result.kept)
    return section("Calibration", note(esc(text)), tables, proof)
