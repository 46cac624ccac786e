"""McNemar's test for two methods on the same 0/1 questions: do the discordant ones favour a side?

The questions count as independent; where an image has several, prefer the clustered bootstrap or swap_test.
Source: McNemar 1947; mid-p after Fagerland, Lydersen and Laake 2013.
"""

import math

import numpy as np
import numpy.typing as npt


def discordant(ours: npt.ArrayLike, theirs: npt.ArrayLike) -> tuple[int, int]:
    """(questions only we have right, questions only they have right) of two 0/1 arrays [n], same order."""
    a, b = np.asarray(ours), np.asarray(theirs)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"two arrays [n] of the same questions are needed, not {a.shape} and {b.shape}")
    if not (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        raise ValueError("McNemar's test needs right or wrong (1 or 0); use the bootstrap for soft scores")
    a, b = a.astype(bool), b.astype(bool)
    return int((a & ~b).sum()), int((~a & b).sum())


def mcnemar(only_ours: int, only_theirs: int, *, mid: bool = False) -> float:
    """Two-sided p-value of the exact test, or of its mid-p version (less conservative).

    Under no difference each of the n discordant questions falls to either side like a coin.
    p = min(1, 2 P(X <= m)); mid-p counts the observed outcome half: 2 P(X < m) + P(X = m);
    m is the smaller side. 1 where nothing is discordant.
    """
    if only_ours < 0 or only_theirs < 0:
        raise ValueError(f"counts must not be negative: {only_ours}, {only_theirs}")
    n, m = only_ours + only_theirs, min(only_ours, only_theirs)
    if n == 0:
        return 1.0
    below = math.fsum(_coin(n, k) for k in range(m))
    at = _coin(n, m)
    return min(1.0, 2 * below + (at if mid else 2 * at))


def _coin(n: int, k: int) -> float:
    """P(k heads of n); by logarithms, since 2**n overflows for large n."""
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
    return math.exp(log)
