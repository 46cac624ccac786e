"""PruMerge Table 2 (arXiv:2403.15388): prefill on a V100 by LLM-Viewer."""

from prunegrid.cost.tables.table import Cell, Table
from prunegrid.cost.tables.viewer import COLUMNS, prefill
from prunegrid.shape import llava15_7b, llava15_13b

_PUBLISHED = (
    # LLM, bits, tokens, the four printed figures
    ("7B", 16, 700, ("9.3", "88.6", "23.3", "4.60")),
    ("7B", 16, 70, ("0.91", "15.3", "13.7", "0.28")),
    ("7B", 4, 700, ("2.3", "151.6", "5.9", "1.20")),
    ("7B", 4, 70, ("0.28", "14.9", "3.5", "0.07")),
    ("13B", 16, 700, ("18.2", "170.5", "41.6", "7.30")),
    ("13B", 16, 70, ("1.80", "29.5", "26.6", "0.44")),
    ("13B", 4, 700, ("4.6", "294.9", "10.5", "1.80")),
    ("13B", 4, 70, ("0.45", "29.0", "6.8", "0.11")),
)
_QUARTER = "The printed FP16 figure divided by 4, not a count: quantising changes no number of operations."
_SLIP = (
    "A quarter of the FP16 figure is 0.23; 0.28 is the storing activation of the FP16 row, copied it seems."
)


def table2() -> Table:
    """32 figures. Ours for the INT4 FLOPs is the printed FP16 figure over 4, as theirs evidently is."""
    printed = {(llm, tokens): figures[0] for llm, bits, tokens, figures in _PUBLISHED if bits == 16}
    cells = []
    for llm, bits, tokens, figures in _PUBLISHED:
        shape = llava15_7b() if llm == "7B" else llava15_13b()
        ours = prefill(shape, tokens, "V100", bits, "llm_viewer_old")
        flops = ours.flops if bits == 16 else float(printed[llm, tokens]) / 4
        values = (flops, ours.milliseconds, ours.moved, ours.stored)
        method = "LLaVA-1.5" if tokens == 700 else "w/ PruMerge"
        row = f"{method} {llm} {'FP16' if bits == 16 else 'INT4'}"
        for column, value, figure in zip(COLUMNS, values, figures, strict=True):
            note = _QUARTER if bits == 4 and column == COLUMNS[0] else ""
            if figure == "0.28" and bits == 4:
                note = _SLIP
            cells.append(Cell(row, column, str(tokens), value, figure, _places(figure), note=note))
    return Table(
        title="PruMerge Table 2: computation cost on a Tesla V100",
        source="arXiv:2403.15388, Table 2",
        method=(
            "LLM-Viewer before 2024-03-19 (convention llm_viewer_old), V100, W = A = KV bits. The LLM "
            "prompt is 700 tokens without and 70 with PruMerge, not the 576 + 40 and 40 + 40 of the "
            "text. 'Total memory' is bytes moved and 'storing activation' bytes written over all "
            "layers: neither has to fit anywhere. A trailing zero is padding (4.645 is printed 4.60)."
        ),
        cells=tuple(cells),
    )


def _places(figure: str) -> int:
    """Decimals without the padding zero: the table prints 4.6 as 4.60."""
    return len(figure.partition(".")[2].rstrip("0")) or 1
