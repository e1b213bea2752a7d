"""What a program of the zoo is, and what it leaves behind."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["checkpoint", "frozen-graph", "saved-model", "keras"]
Repair = Literal["calibrate", "set-inputs", "export", "none"]
RECORD = "saved.json"


@dataclass(frozen=True)
class Saved:
    """A trained model as its program saved it; paths are relative to the program's folder.

    Attributes:
        source: The file or folder to export; of a checkpoint its `.meta` file.
        kind: What that is.
        inputs: Tensors to feed, such as `images:0`, without those in `set_inputs`; empty where the
            source names its own.
        outputs: Tensors to read, likewise.
        samples: An `.npz` of training images, under the name of the model's input.
        tests: An `.npz` of `images` that were held out and their `labels`.
        set_inputs: Inputs to bind for inference.
        accuracy: Share of the test images that the model reads right in TensorFlow, in inference
            mode where it has a switch, one image at a time.
    """

    source: str
    kind: Kind
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    samples: str
    tests: str
    set_inputs: Mapping[str, bool]
    accuracy: float

    def write(self, folder: Path) -> None:
        """Say that the folder is complete."""
        (folder / RECORD).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def read(folder: Path) -> Saved:
        """What `write` wrote."""
        told = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return Saved(**{**told, "inputs": tuple(told["inputs"]), "outputs": tuple(told["outputs"])})


@dataclass(frozen=True)
class Program:
    """One program.

    Attributes:
        name: A slug.
        group: Which of the nine families of the seed material it is of.
        what: It in a few words.
        code: `module:function` in this package; the function takes a folder and `options`.
        options: Further arguments of the function.
        mistake: What is wrong with it; None if it is right.
        codes: The findings of which one must name the mistake.
        repair: What undoes the mistake: to `calibrate` from samples, to bind an input
            (`set-inputs`), the `export` itself, or nothing.
        random: Whether what is exported draws random numbers, so that nothing can be compared.
    """

    name: str
    group: int
    what: str
    code: str
    options: Mapping[str, Any] = field(default_factory=dict)
    mistake: str | None = None
    codes: tuple[str, ...] = ()
    repair: Repair = "none"
    random: bool = False

    def build_and_train(self, folder: Path) -> Saved:
        """Train, save into an existing folder, and say what was saved.

        Raises:
            RuntimeError: It is a right program and did not learn to read its test images.
        """
        module, function = self.code.split(":")
        train = getattr(importlib.import_module(f"zoo.{module}"), function)
        saved: Saved = train(folder, **self.options)
        if self.mistake is None and saved.accuracy < LEARNT:
            raise RuntimeError(f"{self.name} reads {saved.accuracy:.0%} of its test images only")
        saved.write(folder)
        return saved


LEARNT = 0.85
"""Accuracy that shows that a program has learnt something, and that inference uses it."""


@dataclass(frozen=True)
class Family:
    """Programs of one group that are made by one function.

    Attributes:
        group: The number of the group.
        code: `module:function`.
        prefix: Of their names.
    """

    group: int
    code: str
    prefix: str

    def right(self, name: str, what: str, /, **options: Any) -> Program:
        """A program without a mistake."""
        return Program(f"{self.prefix}-{name}", self.group, what, self.code, options)

    def wrong(
        self,
        name: str,
        mistake: str,
        /,
        *codes: str,
        repair: Repair = "calibrate",
        random: bool = False,
        **options: Any,
    ) -> Program:
        """A program with a mistake that findings of these codes name."""
        return Program(
            f"{self.prefix}-{name}",
            self.group,
            mistake,
            self.code,
            options,
            mistake,
            codes,
            repair,
            random,
        )
