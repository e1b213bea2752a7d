"""Train the small CNN of models/ on real data and export it with its batch norms kept.

The data are the 1 797 handwritten digits of 8 x 8 pixels inside scikit-learn (UCI "Optical
Recognition of Handwritten Digits", Alpaydin & Kaynak 1998). The network is not the smallest that
reads them: it is a walk past the places where a batch norm stands in practice (see `DigitsCNN`).

Run `make models`; it installs PyTorch into a venv of its own. The tests and the demo never need it.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import onnx
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

MODELS = Path(__file__).resolve().parents[1] / "models"
SEED = 7
EPOCHS = 40
BATCH = 64


class DigitsCNN(nn.Module):
    """Conv, depthwise Conv, 1x1 Conv, ConvTranspose and Linear, each with a batch norm behind it.

    `pool_norm` stands behind a MaxPool and before a ReLU, so no linear layer is next to it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.pointwise = nn.Sequential(nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.pool = nn.MaxPool2d(2)
        self.pool_norm = nn.Sequential(nn.BatchNorm2d(32), nn.ReLU())
        self.up = nn.Sequential(
            nn.ConvTranspose2d(32, 16, 2, stride=2, groups=2), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.down = nn.Sequential(
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()
        )
        self.head = nn.Sequential(
            nn.Linear(32 * 4 * 4, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, 10) of images (N, 1, 8, 8) with values from 0 to 1."""
        features = self.pointwise(self.depthwise(self.stem(images)))
        features = self.down(self.up(self.pool_norm(self.pool(features))))
        return self.head(features.flatten(1))


def digits() -> tuple[torch.Tensor, torch.Tensor, np.ndarray, np.ndarray]:
    """Training images and labels as tensors, test images and labels as arrays; a fixed split."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).astype(np.float32).reshape(-1, 1, 8, 8)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=360, random_state=SEED, stratify=labels
    )
    return torch.from_numpy(train_x), torch.from_numpy(train_y), test_x, test_y.astype(np.int64)


def train(model: DigitsCNN, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Adam with a falling rate; the batch norms gather their moving statistics on the way."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-4)
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    model.train()
    for epoch in range(EPOCHS):
        order = torch.randperm(len(images))
        # The last, smaller batch is dropped: its statistics would count as much as a full one's.
        for start in range(0, len(images) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1:2d}/{EPOCHS}  loss {loss.item():.4f}")


def export(model: DigitsCNN, path: Path) -> None:
    """Write the model in inference mode, batch axis free, with one node per batch norm.

    TrainingMode.EVAL would fold Conv + BN inside PyTorch; PRESERVE keeps the nodes, and `eval()`
    makes them inference nodes.
    """
    torch.onnx.export(
        model.eval(),
        (torch.zeros(1, 1, 8, 8),),
        str(path),
        dynamo=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
        opset_version=17,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
    )


def verify(path: Path, model: DigitsCNN) -> int:
    """Number of batch norms in the file; raises if one of them is not what the folder promises."""
    graph = onnx.load(path).graph
    nodes = [node for node in graph.node if node.op_type == "BatchNormalization"]
    modules = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if len(nodes) != len(modules):
        raise SystemExit(f"{len(modules)} batch norms trained, {len(nodes)} exported")
    for node in nodes:
        modes = [a.i for a in node.attribute if a.name == "training_mode"]
        if any(modes) or len(node.output) != 1:
            raise SystemExit(f"{node.name} was exported in training mode")
    for module in modules:
        if torch.all(module.running_mean == 0) or torch.all(module.running_var == 1):
            raise SystemExit("moving statistics were never updated")
    return len(nodes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=MODELS, help="folder to write to")
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    train_x, train_y, test_x, test_y = digits()
    model = DigitsCNN()
    train(model, train_x, train_y)

    path = folder / "digits_cnn.onnx"
    export(model, path)
    count = verify(path, model)
    # Labels apart: in a data file for bnopt every array is an input of the model.
    np.savez_compressed(folder / "digits_test.npz", image=test_x)
    np.save(folder / "digits_test_labels.npy", test_y)

    with torch.no_grad():
        right = int((model(torch.from_numpy(test_x)).argmax(1).numpy() == test_y).sum())
    print(
        f"{count} batch norms kept; test accuracy {right}/{len(test_y)} = {right / len(test_y):.4f}"
    )
    for name in ("digits_cnn.onnx", "digits_test.npz", "digits_test_labels.npy"):
        data = (folder / name).read_bytes()
        print(f"{hashlib.sha256(data).hexdigest()}  {name}  {len(data)} bytes")


if __name__ == "__main__":
    main()
