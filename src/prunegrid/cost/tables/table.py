"""A published cost table as data: every cell with our figure, theirs, and why they differ where they do."""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal


@dataclass(frozen=True)
class Cell:
    """One figure."""

    row: str
    column: str  # with its unit
    tokens: str  # what the LLM is given: the count that really stands behind the figure
    computed: float
    published: str  # as printed
    places: int  # decimals of the published figure that carry meaning
    tolerance: float = 0.0  # allowed distance, in the column's unit; 0: only equal digits agree
    note: str = ""  # how the figure came about, or why it differs

    @property
    def same_digits(self) -> bool:
        """Ours, rounded half up as people round, prints as theirs."""
        step = Decimal(1).scaleb(-self.places)
        return Decimal(repr(self.computed)).quantize(step, ROUND_HALF_UP) == Decimal(self.published)

    @property
    def agrees(self) -> bool:
        return self.same_digits or abs(self.computed - float(self.published)) <= self.tolerance


@dataclass(frozen=True)
class Table:
    """All figures of one published table."""

    title: str
    source: str
    method: str  # how ours were computed, in a sentence or two
    cells: tuple[Cell, ...]
    columns: tuple[str, ...] = ()  # the order to print them in, where it is not that of the cells


def decimals(published: str) -> int:
    """Decimals as printed: 2 for "0.91", 1 for "5.0"."""
    return len(published.partition(".")[2])
