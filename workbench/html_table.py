"""Tables as HTML that needs no style sheet: what a text says stays text."""

from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """Text that is HTML already; any other text is escaped."""

    __slots__ = ()


def escaped(text: str) -> str:
    """Return text as HTML."""
    return text if isinstance(text, Html) else escape(text)


def table(
    rows: Iterable[Sequence[str]],
    cells: str | Sequence[str] = "",
    *,
    heads: Sequence[str] = (),
    row_head: int | None = None,
    attributes: str = "",
) -> Html:
    """Return a table.

    Args:
        rows: the texts of each row's cells.
        cells: attributes of every cell, or one text a column.
        heads: of the columns, with the attributes of their cells.
        row_head: the column that names its row.
        attributes: of the table.
    """

    def line(texts: Sequence[str], scope: str) -> str:
        styles = [cells] * len(texts) if isinstance(cells, str) else cells
        drawn = ""
        for column, (text, style) in enumerate(zip(texts, styles, strict=True)):
            head = scope == "col" or column == row_head
            parts = [f"th scope='{scope}'" if head else "td", *filter(None, [style])]
            drawn += f"<{' '.join(parts)}>{escaped(text)}</{'th' if head else 'td'}>"
        return f"<tr>{drawn}</tr>"

    body = "".join(line(texts, "row") for texts in rows)
    if heads:
        body = f"<thead>{line(heads, 'col')}</thead><tbody>{body}</tbody>"
    return Html(f"<{' '.join(filter(None, ['table', attributes]))}>{body}</table>")
