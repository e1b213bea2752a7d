"""The images that programs of the zoo learn from: scikit-learn's handwritten digits.

1 797 images of 8 x 8 pixels (UCI "Optical Recognition of Handwritten Digits", Alpaydin & Kaynak
1998), scaled to 0-1, the same split every time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BATCH = 32
SAMPLES = 256
TEST_IMAGES = 360
SPLIT_SEED = 7


@dataclass(frozen=True)
class Data:
    """Images (N, H, W, C) float32 from 0 to 1, and labels int64: (N,), or (N, H, W) of pixels."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray

    def batches(self, steps: int, *, size: int = BATCH) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images and labels of `steps` batches, each image once before any comes again."""
        random = np.random.default_rng(0)
        order = np.zeros(0, np.int64)
        for _ in range(steps):
            if len(order) < size:
                order = random.permutation(len(self.train_x))
            chosen, order = order[:size], order[size:]
            yield self.train_x[chosen], self.train_y[chosen]

    def write(self, folder: Path, name: str) -> dict[str, str]:
        """Write samples under the input's name, and tests; the fields of `Saved` that say where."""
        chosen = np.random.default_rng(1).permutation(len(self.train_x))[:SAMPLES]
        np.savez(folder / "samples.npz", **{name: self.train_x[chosen]})
        np.savez(folder / "tests.npz", images=self.test_x, labels=self.test_y)
        return {"samples": "samples.npz", "tests": "tests.npz"}


def digits() -> Data:
    """1 437 images (8, 8, 1) to train on, 360 to test on."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).astype(np.float32).reshape(-1, 8, 8, 1)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=TEST_IMAGES, random_state=SPLIT_SEED, stratify=labels
    )
    return Data(train_x, train_y.astype(np.int64), test_x, test_y.astype(np.int64))


def posters(train: int = 12, test: int = 4) -> Data:
    """Digits blown up to (512, 512, 3), noisy, in random colours; which pixels are ink is asked."""
    small = digits()
    random = np.random.default_rng(2)

    def drawn(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        large = images.repeat(64, axis=1).repeat(64, axis=2)
        shape = (len(images), 1, 1, 3)
        paper, ink = random.uniform(0.6, 1.0, shape), random.uniform(0.0, 0.3, shape)
        noise = random.normal(0.0, 0.1, (*large.shape[:3], 3))
        coloured = paper * (1 - large) + ink * large + noise
        return coloured.astype(np.float32), (large[..., 0] > 0.5).astype(np.int64)

    return Data(*drawn(small.train_x[:train]), *drawn(small.test_x[:test]))
