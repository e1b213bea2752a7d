"""The judge's verdict as JSON: each output with its error and tolerance, and what really ran."""

from __future__ import annotations

from typing import Any

from bnopt.findings import OutputComparison, Validation, Worst

Report = dict[str, Any]


def validation_report(validation: Validation | None) -> Report | None:
    """A verdict; null if there is none."""
    if validation is None:
        return None
    return {
        "equivalent": validation.equivalent,
        "providers": [proof.name for proof in validation.providers],
        "proofs": [
            {
                "name": proof.name,
                "session_provider": proof.session_provider,
                "assignment": dict(proof.assignment),
            }
            for proof in validation.providers
        ],
        "oracle": validation.oracle,
        "outputs": [_output(output) for output in validation.outputs],
        "runs": validation.runs,
        "batch_sizes": list(validation.batch_sizes),
        "notes": list(validation.notes),
        "seconds": validation.seconds,
    }


def _output(output: OutputComparison) -> Report:
    return {
        "name": output.name,
        "equivalent": output.equivalent,
        "max_abs": output.max_abs,
        "max_rel": output.max_rel,
        "ulp": output.ulp,
        "snr_db": output.snr_db,
        "tolerance": output.tolerance,
        "original_error": output.original_error,
        "noise_floor": output.noise_floor,
        "worst": _worst(output.worst),
        "message": output.message,
    }


def _worst(worst: Worst | None) -> Report | None:
    if worst is None:
        return None
    return {
        "index": list(worst.index),
        "channel": worst.channel,
        "original": worst.original,
        "candidate": worst.candidate,
        "reference": worst.reference,
        "run": worst.run,
    }
