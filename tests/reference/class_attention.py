"""Class attention of PruMerge under its readings, one image at a time, in plain loops. Letters as in prumerge.py."""

import numpy as np
import torch
from torch import Tensor


def class_attention_released(q_cls: Tensor, k: Tensor) -> Tensor:
    """Class attention as the released code computes it: heads not split, scale C**-0.5.

    q_cls: [C], the class token's query, all heads concatenated and not yet scaled; k: [1 + N, C]. Returns a:
    [N], the softmax over all 1 + N keys with the class column then left out (so the sum is below 1).
    """
    scale = k.shape[1] ** -0.5
    logits = torch.stack([(q_cls * key).sum() * scale for key in k])
    return _softmax(logits)[1:]


def class_attention_half(q_cls: Tensor, k: Tensor) -> Tensor:
    """`class_attention_released` as it is in fp16: inputs, products, scaled products and softmax are rounded to it,
    what is summed in between is not. q_cls [C], k [1 + N, C] of any dtype -> [N] float32."""
    query, scale = q_cls.half().double(), k.shape[1] ** -0.5
    logits = []
    for key in k.half().double():
        product = np.float16(float((query * key).sum()))
        logits.append(np.float16(np.float32(product) * np.float32(scale)))
    powers = [np.exp(np.float64(x) - np.float64(max(logits))) for x in logits]
    row = [np.float16(p / sum(powers)) for p in powers]
    return torch.tensor([float(x) for x in row[1:]])


def class_attention_per_head(q_cls: Tensor, k: Tensor) -> Tensor:
    """Class attention as the model itself attends: softmax per head, then the mean over heads.

    q_cls: [H, Dh]; k: [H, 1 + N, Dh]. Returns a: [N].
    """
    heads, _, width = k.shape
    rows = []
    for h in range(heads):
        logits = torch.stack([(q_cls[h] * key).sum() * width**-0.5 for key in k[h]])
        rows.append(_softmax(logits)[1:])
    return torch.stack(rows).mean(0)


def _softmax(logits: Tensor) -> Tensor:
    powers = torch.exp(logits - logits.max())
    return powers / powers.sum()
