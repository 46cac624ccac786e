"""PruMerge: adaptive selection by CLS outliers (AITS), then merging the rest by nearest keys (TS).

arXiv:2403.15388, Algorithm 1; official code 42Shawn/LLaVA-PruMerge at 097c041, token_prune_merge_advanced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from prunegrid.reduce.methods.merging import Merging
from prunegrid.reduce.ops import first, span, top
from prunegrid.reduce.places import Site
from prunegrid.reduce.reducer import budget, budgets, check_budget
from prunegrid.reduce.view import Reduction, TokenView


@dataclass(frozen=True)
class PruMerge(Merging):
    """`select` iqr: as many tokens as there are outliers, per image. topk: `keep` of them (int, or a share).

    The remainder token of the released code comes on top of the budget: m outliers give m + 1 tokens. An outlier lies
    above Q3 + `fence` (Q3 - Q1) of a; `Merging` says what a and the merging are, and where paper, code and this differ.
    a [B, N] -> keep, valid [B, m].
    Cost: that of `Merging`, 1.3 GFLOPs at 576 x 1024 and m = 40, nearly all of it the keys of a layer that has not
    run; two sorts of N numbers. One sync for the ragged counts; with `select` topk none.
    """

    select: Literal["iqr", "topk"] = "iqr"
    keep: int | float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.select == "topk":
            if self.keep is None:
                raise ValueError("PruMerge: select=topk needs keep (a number of tokens or a share)")
            check_budget(self.keep, "PruMerge")
        elif self.keep is not None:
            raise ValueError(
                f"PruMerge: keep={self.keep} has no meaning with select=iqr, which finds its own number"
            )

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction:
        a, ragged = self.class_attention(view), False
        if self.keep is None:
            counts = self.outliers(a, view.valid)
            most, ragged = span(counts)
        else:
            most = budget(self.keep, a.shape[1], "PruMerge")
            counts = budgets(self.keep, view.valid)
            if not view.full:
                most, ragged = span(counts)
        keep = top(a, most, view.valid)
        return self.finish(view, a, keep, first(counts, most), {"selected": counts.float()}, ragged)
