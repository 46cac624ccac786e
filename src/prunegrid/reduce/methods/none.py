"""All tokens: the baseline that every other cell is compared with. No site, no hook."""

from __future__ import annotations

from dataclasses import dataclass

from prunegrid.reduce.flops import Flops, Seen
from prunegrid.reduce.reducer import Host, Reducer


@dataclass(frozen=True)
class Full(Reducer):
    """Full tokens; bit-identical to plain `generate`. The baseline has no source, and no official code to differ from.

    [B, N, D] stays [B, N, D].
    Cost: nothing. No sync.
    """

    def flops(self, host: Host, seen: Seen) -> Flops:
        return Flops()
