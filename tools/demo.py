"""`make demo`: fold two real models with the command line, and read digits with one of them.

Nothing is trained or downloaded: the digit reader and its test images are in models/, the ResNet-50
is one of the graphs that the onnx package ships for its own tests (its weights are filler values).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / ".out"
DIGITS = ROOT / "models" / "digits_cnn.onnx"
RESNET = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / "light_resnet50.onnx"


def bnopt(*arguments: str | Path) -> None:
    """Run the command in the checkout as a user would; its exit code ends this demo."""
    told = [
        str(a.relative_to(ROOT)) if isinstance(a, Path) and a.is_relative_to(ROOT) else str(a)
        for a in arguments
    ]
    print(f"\n$ bnopt {' '.join(told)}\n", flush=True)
    code = subprocess.run([sys.executable, "-m", "bnopt", *told], cwd=ROOT).returncode
    if code:
        sys.exit(code)


def logits(path: Path, images: np.ndarray, batch: int) -> np.ndarray:
    """Outputs (N, 10) of the model, `batch` images at a time, optimizations off."""
    options = ort.SessionOptions()
    # onnxruntime folds batch norms by itself; off, each file is run as it is written.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    parts = [images[start : start + batch] for start in range(0, len(images), batch)]
    return np.concatenate([session.run(None, {"image": part})[0] for part in parts])


def read_digits(folded: Path) -> bool:
    """Compare original and folded model on the held-out digits; True if no answer changed."""
    images = np.load(ROOT / "models" / "digits_test.npz")["image"]
    labels = np.load(ROOT / "models" / "digits_test_labels.npy")
    print(f"{'model':24} {'nodes':>5} {'batch':>5}  {'digits read right':>17}")
    answers: list[np.ndarray] = []
    for path in (DIGITS, folded):
        nodes = len(onnx.load(path).graph.node)
        for batch in (1, len(images)):
            answer = logits(path, images, batch).argmax(axis=1)
            answers.append(answer)
            right = int((answer == labels).sum())
            print(f"{path.name:24} {nodes:5} {batch:5}  {right:13}/{len(labels)}")
    return all(np.array_equal(answers[0], other) for other in answers[1:])


def main() -> int:
    OUT.mkdir(exist_ok=True)
    print("1. A small network that was trained on real handwritten digits")
    folded = OUT / "digits_cnn.folded.onnx"
    bnopt("fold", DIGITS, "-o", folded)
    print("\n2. ResNet-50")
    bnopt("fold", RESNET, "-o", OUT / "light_resnet50.folded.onnx")
    print("\n3. The digit reader before and after, on 360 digits it has never seen\n")
    same = read_digits(folded)
    print("\nEvery answer is the same." if same else "\nerror: some answers differ.")
    print(f"The folded models are in {OUT.name}/.")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
