"""The keys of the reasons that may be given with a label."""

from collections.abc import Mapping, Sequence

from workbench.data.labelling.guidelines import tag_names
from workbench.errors import ConfigError

_LETTERS = "abcdefghijklmnopqrstuwxyz"  # not v, which reveals a blind comparison


def tag_keys(
    tags: Sequence[str] | Mapping[str, str] | None, keys: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Return each reason by its key: the one that is given, else a letter that is free.

    A letter of the reason's own name comes first, from its beginning.

    Args:
        tags: names, or names by their keys.
        keys: the keys of the labeller's actions.

    Raises:
        ConfigError: a reason cannot be, a key has another meaning, or no letter is left.
    """
    taken = {key: action for action, names in keys.items() for key in names}
    taken.update((str(digit), "an answer or a strength") for digit in range(10))
    if isinstance(tags, Mapping):
        names = tag_names(tags.values())
        for key in tags:
            if key in taken or len(key) != 1 or key != key.lower() or not key.strip():
                meaning = f"means {taken[key]!r}" if key in taken else "is no single small key"
                free = [key for key in _LETTERS if key not in taken and key not in tags]
                raise ConfigError(
                    f"the key {key!r} of the tag {tags[key]!r} {meaning}",
                    where="tags=...",
                    fix=f"give each a key that is free, such as {', '.join(free[:5])}",
                )
        return dict(zip(tags, names, strict=True))
    tags_by_key: dict[str, str] = {}
    for name in tag_names(tags):
        free = [key for key in [*name.lower(), *_LETTERS] if key in _LETTERS]
        key = next((key for key in free if key not in taken and key not in tags_by_key), None)
        if key is None:
            raise ConfigError(
                f"no letter is left as the key of the tag {name!r}",
                where="tags=...",
                fix="give fewer tags, or keys of your own: tags={';': 'too long', ...}",
            )
        tags_by_key[key] = name
    return tags_by_key
