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
    def rounded(self) -> str:
        """Ours, rounded half up as people round, to `places` decimals."""
        return str(_half_up(self._exact, self.places))

    @property
    def unrounded(self) -> str:
        """Ours with one decimal more, or with as many as it takes to round as it did: 8.147 beside 8.1, as 8.15 would
        be 8.2."""
        places = self.places + 1
        while str(_half_up(_half_up(self._exact, places), self.places)) != self.rounded:
            places += 1
        return str(_half_up(self._exact, places))

    @property
    def same_digits(self) -> bool:
        """Ours, rounded, prints as theirs."""
        return Decimal(self.rounded) == Decimal(self.published)

    @property
    def agrees(self) -> bool:
        return self.same_digits or abs(self.computed - float(self.published)) <= self.tolerance

    @property
    def sign(self) -> str:
        """`=` same digits after rounding, `~` unrounded within the tolerance, `!` neither."""
        return "=" if self.same_digits else "~" if self.agrees else "!"

    @property
    def _exact(self) -> Decimal:
        return Decimal(repr(self.computed))


@dataclass(frozen=True)
class Table:
    """All figures of one published table."""

    title: str
    source: str
    method: str  # how ours were computed, in a sentence or two
    cells: tuple[Cell, ...]
    columns: tuple[str, ...] = ()  # the order to print them in, where it is not that of the cells


def _half_up(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def decimals(published: str) -> int:
    """Decimals as printed: 2 for "0.91", 1 for "5.0"."""
    return len(published.partition(".")[2])
