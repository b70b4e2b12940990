"""What annotators are told and asked: guidelines beside the pair, reasons to give with a label."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from workbench.data.store.label_events import SESSION, LabelEvent
from workbench.errors import ConfigError, DataError, nearest
from workbench.json_lines import dumps

LONGEST = 60_000  # characters of guidelines that are shown beside a pair
_FILES = (".md", ".txt", ".markdown", ".rst")
_MOST_TAGS = 24
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: no store and no file can hold it


def read_guidelines(source: str | Path | None) -> str:
    """Return guidelines: a text as it is, or what stands in a file.

    Args:
        source: a text; or a path, or a text of one word that ends like a file (.md, .txt).

    Raises:
        DataError: the file cannot be read, or the text is too long to be shown beside a pair.
    """
    if source is None:
        return ""
    text = str(source)
    if isinstance(source, Path) or (text.endswith(_FILES) and len(text.split()) == 1):
        try:
            text = Path(source).expanduser().read_text(encoding="utf-8-sig")
        except (OSError, UnicodeError) as error:
            raise DataError(
                f"the guidelines cannot be read: {error}",
                where=str(source),
                fix="give a text file in UTF-8, or the text itself",
            ) from error
    if len(text) > LONGEST:
        raise DataError(
            f"the guidelines are {len(text):,} characters long",
            where="guidelines=...",
            fix=f"give at most {LONGEST:,}: they stand beside every pair",
        )
    return _SURROGATE.sub("\ufffd", text).strip()


def tag_names(tags: Iterable[object] | None) -> tuple[str, ...]:
    """Return the reasons that may be given with a label.

    Raises:
        ConfigError: one is no text, empty or there twice; or there are too many.
    """
    names: list[object] = [tags] if isinstance(tags, str) else list(tags or ())
    wrong = [name for name in names if not isinstance(name, str) or not name.strip()]
    twice = [name for name in names if names.count(name) > 1]
    if wrong or twice or len(names) > _MOST_TAGS:
        fault = f"a tag cannot be {wrong[0]!r}" if wrong else f"there are {len(names)} tags"
        if twice and not wrong:
            fault = f"the tag {twice[0]!r} is there twice"
        raise ConfigError(
            fault,
            where="tags=...",
            fix=f"give at most {_MOST_TAGS} different texts, e.g. ['accurate', 'too long']",
        )
    return tuple(_SURROGATE.sub("\ufffd", str(name)) for name in names)


def chosen_tags(chosen: Iterable[str], known: tuple[str, ...]) -> list[str]:
    """Return the reasons given with a label, in the order in which they were offered.

    Raises:
        ConfigError: one of them was not offered.
    """
    names = [chosen] if isinstance(chosen, str) else list(chosen)
    for name in names:
        if name not in known:
            raise ConfigError(
                f"there is no tag {name!r} in this session",
                where="session.choose(tags=...)",
                fix=f"{nearest(name, known)}the tags are: {', '.join(known) or '(none given)'}",
            )
    return [name for name in known if name in names]


def session_event(annotator: str, guidelines: str, tags: tuple[str, ...]) -> LabelEvent | None:
    """Return what a store keeps of a session: what its annotator was told and offered.

    The same guidelines and tags are the same event, however often the session is opened. None
    where nothing was told.
    """
    if not guidelines and not tags:
        return None
    payload = {"guidelines": guidelines, "tags": list(tags)}
    digest = hashlib.blake2b(dumps([annotator, payload]).encode(), digest_size=16).hexdigest()
    return LabelEvent(SESSION, "", annotator, payload, f"session-{digest}")
