"""DPC-KNN: clusters around tokens that are dense and far from denser ones.

As in SparseVLM's official code, Gumpest/SparseVLMs at 26a5f48, without the noise that it adds to the densities.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prunegrid.reduce.ops import first


def dpc_knn(x: Tensor, live: Tensor, clusters: Tensor, most: int) -> Tensor:
    """x [B, t, D], live bool [B, t] (a prefix), clusters int [B], at most `most` -> the cluster of each token,
    int [B, t]; what is not live means nothing.

    Distances are divided by sqrt(D). A token's density is exp(-mean of its squared distances to the clusters[b]
    nearest tokens, itself included); its score is the density times the distance to the nearest denser token (the
    greatest of all distances where there is none). The clusters[b] highest scores are centres, earlier tokens
    first; the others join the nearest one. Deterministic: nothing random breaks ties of the density.
    Cost: 3 t^2 D for all distances, [B, t, t] in fp32, and a sort of each row. No sync.
    """
    x = x.float()
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist") * x.shape[2] ** -0.5
    pairs = live[:, :, None] & live[:, None, :]
    farthest = distance.masked_fill(~pairs, 0).flatten(1).amax(1)[:, None, None]
    distance = distance.masked_fill(~pairs, torch.inf)
    near = first(clusters, most)  # [B, most]
    closest = distance.sort(dim=2).values[:, :, :most].square().masked_fill(~near[:, None], 0)
    density = (-closest.sum(2) / clusters.clamp_min(1)[:, None]).exp().masked_fill(~live, -1.0)
    denser = (density[:, None, :] > density[:, :, None]) & pairs
    apart = torch.where(denser, distance, farthest).amin(2)
    score = (apart * density).masked_fill(~live, -torch.inf)
    centres = score.argsort(dim=1, descending=True, stable=True)[:, :most]
    reach = distance.gather(2, centres[:, None].expand(-1, x.shape[1], -1))
    member = reach.masked_fill(~near[:, None], torch.inf).argmin(2)
    spill = torch.cat([member, member[:, :1]], 1)
    places = torch.arange(most, device=x.device).expand(len(x), -1)
    return spill.scatter(1, centres.masked_fill(~near, x.shape[1]), places)[:, :-1]
