"""Feeds made from the caller's example, at any batch size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bnopt.frontends.torch.modules import import_torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bnopt.frontends.torch.calls import Call


def samples(call: Call, batch: int) -> tuple[Any, ...]:
    """Tensors for a batch of that size: the example's samples, then made-up ones.

    A made-up sample holds the numbers of an example in another order, so that it stays within
    its range: token ids, masks, images in [0, 1]. Where these are all the same, floating-point
    numbers are drawn from [0, 1).

    Args:
        call: The example.
        batch: Samples wanted.
    """
    rng = np.random.default_rng([0, batch])
    return tuple(
        _extended(tensor, batch, rng) if batched else tensor
        for tensor, batched in zip(call.tensors, call.batched, strict=True)
    )


def to_numpy(tensor: Any) -> NDArray[Any]:
    """The same numbers and type in numpy, bfloat16 by ml_dtypes."""
    torch = import_torch()
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype is torch.bfloat16:
        import ml_dtypes

        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    # Later calls may write into a buffer that was returned.
    return tensor.numpy().copy()


def _extended(tensor: Any, batch: int, rng: np.random.Generator) -> Any:
    torch = import_torch()
    have = tensor.shape[0]
    rows = [tensor[:batch]]
    for number in range(have, batch):
        row = tensor[number % have]
        if row.is_floating_point() and row.numel() and bool((row == row.flatten()[0]).all()):
            made = torch.from_numpy(rng.random(tuple(row.shape))).to(row.dtype)
        else:
            order = torch.from_numpy(rng.permutation(row.numel()))
            made = row.flatten()[order].reshape(row.shape)
        rows.append(made[None])
    return torch.cat(rows)
