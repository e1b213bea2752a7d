"""How training scripts of TensorFlow 1 go wrong at batch norm, one by one, and how they do not.

Nothing here needs TensorFlow: _tf_digits.py writes a network in the way that a `Script` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tower = Literal["inference", "trained"]


@dataclass(frozen=True)
class Script:
    """How a training script is written; as it stands here, without a mistake.

    Attributes:
        updates: Whether the train op depends on the update ops of the moving averages.
        fused: Whether a batch norm is one kernel, or made of simple operators.
        affine: Whether batch norms have gamma and beta.
        switch: Whether `training` is a placeholder of the tower that is trained.
        own_norms: Whether the batch norms of the tower for inference are in a scope of their own,
            and so have variables of their own, never trained; all other layers share theirs.
    """

    updates: bool = True
    fused: bool = True
    affine: bool = True
    switch: bool = False
    own_norms: bool = False


@dataclass(frozen=True)
class Mistake:
    """One way to export a broken network, and the same training with a proper export.

    Attributes:
        name: A slug.
        what: It in a few words.
        how: What it is in the script.
        broken: The script with the mistake.
        proper: The script without it; it must train the same weights.
        tower: Which tower of the broken script is exported; properly it is that for inference.
        steps: Batches of training.
        batch: Images in each.
        learning_rate: Adam's, constant.
        broken_decay: `momentum` of the batch norms in the broken script.
        decay: The same in the proper one.
        claimed: Whether calibration is to restore the accuracy of the proper export, as it must
            where only statistics are wrong.
    """

    name: str
    what: str
    how: str
    broken: Script = Script()
    proper: Script = Script()
    tower: Tower = "inference"
    steps: int = 1000
    batch: int = 32
    learning_rate: float = 1e-3
    broken_decay: float = 0.99
    decay: float = 0.99
    claimed: bool = True


MISTAKES = (
    Mistake(
        "never-updated",
        "update ops never run",
        "no `control_dependencies` on `UPDATE_OPS`",
        broken=Script(updates=False),
    ),
    Mistake(
        "slow-decay",
        "decay 0.999, 50 steps",
        "the decay of long training, in a short one",
        # As much as 50 steps can teach: large batches, large steps.
        steps=50,
        batch=128,
        learning_rate=1e-2,
        broken_decay=0.999,
        decay=0.9,
    ),
    Mistake(
        "training-fused",
        "training mode, fused",
        "the tower with `training=True` is frozen; its batch norms are fused kernels",
        tower="trained",
    ),
    Mistake(
        "training-plain",
        "training mode, operators",
        "the same with `fused=False`: batch norms are made of simple operators",
        broken=Script(fused=False),
        proper=Script(fused=False),
        tower="trained",
    ),
    Mistake(
        "training-switch",
        "`is_training` fed true",
        "`training` is a placeholder, and stays an input of the model; who runs it says true",
        broken=Script(switch=True),
        proper=Script(switch=True),
        tower="trained",
    ),
    Mistake(
        "other-statistics",
        "wrong scope",
        "the tower for inference has batch norms in a scope of its own, so others with new moving "
        "averages; `center=False, scale=False`",
        broken=Script(affine=False, own_norms=True),
        proper=Script(affine=False),
    ),
    Mistake(
        "other-scope",
        "wrong scope, gamma and beta lost",
        "the same with gamma and beta, so that these are new too",
        broken=Script(own_norms=True),
        claimed=False,
    ),
)
