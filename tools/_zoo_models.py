"""What tools/zoo_table.py --models keeps: exports with their batch norms, and a manifest."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from zoo import data
from zoo.catalog import PROGRAMS
from zoo.program import LEARNT, Program, Saved

MANIFEST = "manifest.json"
IMAGES = "digits.npz"
COMMAND = "make zoo"


def keep(store: Path, folder: Path) -> None:
    """Write models, images and the manifest.

    Args:
        store: Where `model.onnx` of each program is; those that have none are left out.
        folder: Where to write; models that are there go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.onnx"):
        old.unlink()
    entries: list[dict[str, Any]] = []
    for program in PROGRAMS:
        source = store / program.name / "model.onnx"
        if source.is_file():
            path = folder / f"{program.name}.onnx"
            shutil.copyfile(source, path)
            entries.append(_entry(program, Saved.read(source.parent), path))
    told = {"made_by": COMMAND, "learnt": LEARNT, "images": IMAGES, "models": entries}
    (folder / MANIFEST).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    digits = data.digits()
    # Whole numbers from 0 to 16, as scikit-learn has them, take a tenth of the space.
    arrays = {"samples": digits.train_x[: data.SAMPLES], "tests": digits.test_x}
    whole = {name: np.rint(images * 16).astype(np.uint8) for name, images in arrays.items()}
    np.savez_compressed(folder / IMAGES, **whole, labels=digits.test_y.astype(np.uint8))


def _entry(program: Program, saved: Saved, path: Path) -> dict[str, Any]:
    """What is known of one model, and what bnopt says to it without TensorFlow and data."""
    import bnopt

    inputs = {value.name for value in onnx.load(path).graph.input}
    bound = {name: value for name, value in saved.set_inputs.items() if name in inputs}
    findings = bnopt.check(path).findings
    folded = bnopt.fold(path, set_inputs=bound, allow=("all",), validate=False).summary
    return {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "group": program.group,
        "what": program.what,
        "right": program.mistake is None,
        "saved_as": saved.kind,
        "repair": program.repair,
        "set_inputs": bound,
        "errors": sorted({f.code for f in findings if f.severity == "error"}),
        "found": folded.found,
        "folded": folded.folded + folded.merged,
    }
