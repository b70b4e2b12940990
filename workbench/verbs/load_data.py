"""What a person gives: pairs, prompts and examples, from files, frames, lists or by name."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import DataError, nearest
from workbench.progress import reading, working
from workbench.shown_results import ListedRows
from workbench.world.sample_files import sample_dir

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.data.messages import Message
    from workbench.data.pairs import Pairs
    from workbench.widgets.importer.import_form import ImportForm


def load_pairs(
    source: Any,
    format: str = "auto",
    *,
    columns: "Mapping[str, Any] | None" = None,
    even_split: str = "tie",
) -> "Pairs":
    """Read preference pairs from a file, a DataFrame, a list, a dataset or a hub id.

    Args:
        source: what to read; ``sample:NAME`` is a file of the sample data.
        format: the name of a format, or "auto" to find it by the columns.
        columns: which column is which, where no format fits. Either ``{"prompt": "question",
            "chosen": "good", "rejected": "bad"}``, or ``{"prompt": "question", "responses":
            ["answer_a", "answer_b"], "label": "winner"}``, where the label's values are read by
            what they say (a column's name, A and B, 1 and 2, first and second, tie, both bad) or
            by ``"values": {"x": "answer_a", "y": "answer_b", "z": "tie"}``; values that say
            nothing of themselves, such as 0 and 1, must be explained so. ``scores`` (a column for
            each answer), ``system`` and ``annotator`` may be named too. The report counts what
            each value was read as.
        even_split: rows that several annotators gave of one item become one item, with the label
            of the majority; where that is evenly split, "tie" makes it a tie, "none" leaves it
            without a label.

    Raises:
        DataError: nothing there, nothing usable, no such column, or a label's value that is not
            explained.
        ConfigError: a format, a part of ``columns`` or an ``even_split`` that does not exist.
    """
    name = Path(source).name if isinstance(source, str | Path) else type(source).__name__
    with reading(name) as on_progress:
        check_source(source, format)
        from workbench.data.reading.formats import load_pairs as read

        return read(
            _sample_file(source), format, on_progress, columns=columns, even_split=even_split
        )


def import_pairs(source: Any) -> "ImportForm":
    """Say in a form which column is which, for a file that no format fits.

    The form shows the columns, a proposal, and three pairs as they would be read; ``form.pairs``
    are the pairs once they are read, ``form.code`` the line that reads them without the form.

    Args:
        source: what :func:`load_pairs` reads.

    Raises:
        DataError: there is nothing to read.
        ConfigError: the source holds pairs already.
    """
    from workbench.widgets.importer.import_form import ImportForm

    return ImportForm(_sample_file(source))


@working("load_prompts")
def load_prompts(
    source: Any, *, columns: "Mapping[str, Any] | None" = None
) -> "ListedRows[list[Message]]":
    """Read prompts as message lists from a file, a DataFrame or a list of texts.

    What else a row holds is counted in the result's ``left_out``.

    Args:
        source: what to read; ``sample:NAME`` is a file of the sample data.
        columns: which column is which, where no known one holds a prompt: ``{"prompt": "text"}``,
            and ``system`` beside it.

    Raises:
        DataError: nothing there, a row without a prompt, or no known column holds one; it
            proposes ``columns``.
        ConfigError: a part of ``columns`` that does not exist.
    """
    from workbench.data.reading.examples import load_prompts as read

    left_out = Counter[str]()
    return ListedRows(read(_sample_file(source), columns, left_out), left_out)


@working("load_examples")
def load_examples(source: Any) -> ListedRows[dict[str, Any]]:
    """Read texts or instructions: ``{"text"}`` or ``{"prompt", "response"}`` rows.

    What else a row holds (other columns, tool calls, reasoning) is counted in the result's
    ``left_out``.

    Raises:
        DataError: nothing there, or a row that is neither.
    """
    from workbench.data.reading.examples import load_examples as read

    left_out = Counter[str]()
    return ListedRows(read(_sample_file(source), left_out), left_out)


def check_source(source: Any, format: str = "auto") -> None:
    """See that there is a file or a data set of this name; nothing is read.

    A verb asks this of all that it was given before it reads any of it.

    Raises:
        DataError: there is not; the nearest name is told.
        ConfigError: there is no such format.
    """
    from workbench.data.reading.formats import format_by_name
    from workbench.data.reading.sources import existing_file

    format_by_name(format)
    source = _sample_file(source)
    if isinstance(source, str | Path):
        existing_file(str(source))


def _sample_file(source: Any) -> Any:
    """``sample:pairs_train`` names a file of the sample data."""
    if not isinstance(source, str) or not source.startswith("sample:"):
        return source
    path = sample_dir() / f"{source.removeprefix('sample:')}.jsonl"
    if not path.is_file():
        names = sorted(f"sample:{file.stem}" for file in sample_dir().glob("*.jsonl"))
        raise DataError(
            "there is no sample file of this name",
            where=source,
            fix=f"{nearest(source, names)}choose one of {', '.join(names)}",
        )
    return path


def as_pairs(pairs: Any) -> "Pairs":
    """Pairs as they are; anything else is read."""
    from workbench.data.pairs import Pairs

    return pairs if isinstance(pairs, Pairs) else load_pairs(pairs)


def no_label(pairs: "Pairs") -> DataError:
    """The error for pairs that nobody has labelled."""
    return DataError(
        "no pair says which answer is better",
        where=f"{len(pairs)} pairs",
        fix="label them with wb.label(pairs, store), then train on store.pairs()",
    )
