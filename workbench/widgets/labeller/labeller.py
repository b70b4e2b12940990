"""The labelling widget: answers side by side, one key a label; saved means committed."""

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from workbench.data.labelling.session import LabelSession
from workbench.data.labelling.shown_item import DisplayedItem
from workbench.errors import ConfigError, DataError, nearest
from workbench.widgets.kit.loaded_widget import LoadedWidget
from workbench.widgets.kit.markdown import rendered, rendered_messages
from workbench.widgets.kit.wire import fault, incoming, outgoing, outgoing_messages
from workbench.widgets.labeller.tag_keys import tag_keys

AHEAD = 8
"""Items that the page holds: the one shown, and those it can show without waiting."""

KEYS: dict[str, tuple[str, ...]] = {
    "left": ("1", "ArrowLeft"),
    "right": ("2", "ArrowRight"),
    "tie": ("t", "0"),
    "both_bad": ("b",),
    "skip": ("s",),
    "flag": ("f",),
    "note": ("n",),
    "undo": ("u",),
    "redo": ("r",),
    "edit": ("w",),
    "jump": ("g",),
    "guide": ("i",),
    "diff": ("d",),
    "render": ("m",),
    "unfold": ("e",),
    "help": ("?",),
    "commit": ("Enter",),
    "back": ("Backspace",),
    "equal": ("=",),
}
"""Action -> the keys that do it; the first is written on the button.

The digits 1 to 9 besides name answers, where there are more than two, and levels of strength.
"""

PROGRESS = (
    *("done", "skipped", "flagged", "left", "total"),
    *("per_hour", "agreement", "consistency"),
)
"""What the page gets of the progress; the gold rate would tell which items were gold."""


class Labeller(LoadedWidget):
    """Shows one annotator's :class:`LabelSession` and passes on what is pressed.

    The page asks by custom messages ("ready", "act", "jump", …), each action with an id that the
    page made; the answer comes after the commit, and the page sends again until it comes. An id
    that is stored already changes nothing. Only texts in the order drawn for this person travel.

    Args:
        session: what is labelled, by whom, into which store.
        keys: other keys for some actions, such as ``{"left": "j", "right": "k"}``.
        ranking: put more than two answers in order; False only asks for the best one.
        tags: the session's reasons, by the key that gives each; None finds keys for them.

    Attributes:
        more: asked for the next session when all is decided; None where there is no more.

    Raises:
        ConfigError: no such action, or one key for two actions.
    """

    _script = "widgets/labeller/labeller.js"
    _styles = ("widgets/labeller/labeller.css",)

    def __init__(
        self,
        session: LabelSession,
        keys: Mapping[str, str | Sequence[str]] | None = None,
        *,
        ranking: bool = True,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.session, self.store = session, session.store
        self.ranking = ranking
        self.key_map = key_map(keys)
        self.tag_keys = tag_keys(session.tags, self.key_map) if tags is None else dict(tags)
        self.error: BaseException | None = None
        self.more: Callable[[], LabelSession | None] | None = None
        self._guard = threading.Lock()
        self._window: dict[str, DisplayedItem] = {}  # what the page holds, by token
        self.on_msg(self._take)

    @property
    def current(self) -> DisplayedItem | None:
        """The item on screen; None when all are decided."""
        return self.session.current()

    def _take(self, _: Any, content: Mapping[str, Any], __: Any) -> None:
        """Answer one message. Runs on whichever thread the kernel chose; never raises."""
        with self._guard:
            try:
                answer = self._answer(content)
            except Exception as error:
                self.error = error
                answer = {"type": "fault", "id": content.get("id"), **fault(error)}
            if answer is not None:
                self.send(answer)

    def answer_to(self, content: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what the page would be told on this message; an error is raised."""
        with self._guard:
            return self._answer(content)

    def _answer(self, content: Mapping[str, Any]) -> dict[str, Any] | None:
        kind = content.get("type")
        if kind == "ready":
            self._window = {}
            levels = [outgoing(name) for name in self.session.levels]
            how = {"keys": self.key_map, "levels": levels, "ranking": self.ranking}
            return {**self._state(), **how, **self._guide_and_tags()}
        if kind == "here":  # somebody is looking: what is claimed stays so
            return self._state()
        if kind == "jump":
            self.session.jump(_whole(content.get("position")))
            return self._state()
        if kind == "act":
            ack = self._act(content)
            try:
                return {**self._state(), "ack": ack}
            except Exception as error:  # what was committed is acknowledged all the same
                self.error = error
                return {"type": "fault", "ack": ack, **fault(error)}
        shown = self._window.get(str(content.get("token")))
        if kind == "whole" and shown is not None:
            return {"type": "item", **_texts(shown, cut=None)}
        if kind == "rendered" and shown is not None:
            return {"type": "rendered", **_rendered(shown)}
        return None

    def _guide_and_tags(self) -> dict[str, Any]:
        """Return the guidelines, as Markdown where they can be, and the reasons with their keys."""
        text = self.session.guidelines
        keys = {name: key for key, name in self.tag_keys.items()}
        return {
            "guide": {"text": outgoing(text), "html": rendered(text)} if text else None,
            "tags": [{"name": outgoing(name), "key": keys[name]} for name in self.session.tags],
        }

    # --- actions

    def _act(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Do one action; say whether it is committed, and if not, whether to send it again."""
        ident = str(content.get("id", ""))
        try:
            changed = self._do(content, ident)
        except Exception as error:
            self.error = error
            again = isinstance(error.__cause__ or error, sqlite3.Error | OSError)
            return {"id": ident, "ok": False, "again": again, **fault(error)}
        self.error = None
        return {"id": ident, "ok": True, "changed": changed}

    def _do(self, content: Mapping[str, Any], ident: str) -> bool:
        if not 8 <= len(ident) <= 80:
            raise DataError(
                "an action came without an id of its own",
                where="Labeller",
                fix="reload the page",
            )
        session, action = self.session, str(content.get("action"))
        on: dict[str, Any] = {"event_id": ident, "token": str(content.get("token"))}
        decided = {**on, "tags": _reasons(content.get("tags"), session.tags)}
        if action == "choose":
            strength = content.get("strength")
            level = None if strength is None else _whole(strength)
            return session.choose(_choice(content.get("choice")), level, **decided)
        if action == "rank":
            return session.rank(content.get("places") or [], **decided)
        if action == "edit":
            text = str(content.get("text") or "")
            return session.edit(_choice(content.get("choice")), text, **decided)
        if action == "note":
            return session.note(incoming(content.get("text")), **on)
        if action == "skip":
            return session.skip(**decided)
        if action == "flag":
            return session.flag(**on)
        if action == "undo":
            return session.undo(ident)
        if action == "redo":
            return session.redo(ident)
        raise DataError(f"the page asked for {action!r}", where="Labeller", fix="reload the page")

    # --- what the page shows

    def _state(self) -> dict[str, Any]:
        """Return what to show now: the next items, with the texts that the page has not got."""
        current = self.session.current()
        if current is None and self.more is not None and (after := self.more()) is not None:
            self.session.close()
            self.session, self._window = after, {}
            current = after.current()
        queue = [] if current is None else [current, *self.session.upcoming(AHEAD - 1)]
        fresh = [shown for shown in queue if shown.token not in self._window]
        self._window = {shown.token: shown for shown in queue}
        progress = self.session.progress()
        return {
            "type": "state",
            "annotator": outgoing(self.session.annotator),
            "progress": {name: progress[name] for name in PROGRESS}
            | ({"asks": True} if self.more else {}),
            "queue": [_marks(shown, self.session.tags) for shown in queue],
            "items": [_texts(shown) for shown in fresh],
        }


def _marks(shown: DisplayedItem, tags: Sequence[str]) -> dict[str, Any]:
    """Return what may change about an item while its texts stay."""
    return {
        "token": shown.token,
        "position": shown.position,
        "decided": shown.decided,
        "flagged": shown.flagged,
        "note": outgoing(shown.note),
        "tags": [tags.index(tag) for tag in shown.tags if tag in tags],
    }


def _texts(shown: DisplayedItem, **cut: None) -> dict[str, Any]:
    """Return an item's texts, in the order drawn for this person, and nothing else of it."""
    return {
        "token": shown.token,
        "prompt": outgoing_messages(shown.prompt, **cut),
        "responses": [outgoing_messages(response, **cut) for response in shown.responses],
    }


def _rendered(shown: DisplayedItem) -> dict[str, Any]:
    """Return an item's texts as harmless HTML, one a message; None for one to show as written."""
    return {
        "token": shown.token,
        "prompt": rendered_messages(shown.prompt),
        "responses": [rendered_messages(response) for response in shown.responses],
    }


def _whole(value: object) -> int:
    """Return a whole number that the page sent.

    Raises:
        DataError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(
            f"the page sent {value!r} where a number belongs",
            where="Labeller",
            fix="reload the page",
        )
    return value


def _reasons(places: object, tags: Sequence[str]) -> list[str]:
    """Return the reasons that the page names by their places.

    Raises:
        DataError: there is no such place.
    """
    values = cast("list[object]", places) if isinstance(places, list) else []
    numbers = [_whole(place) for place in values]
    if any(not 0 <= number < len(tags) for number in numbers):
        raise DataError(
            f"the page gave a reason that is not there: {numbers}",
            where="Labeller",
            fix="reload the page",
        )
    return [tags[number] for number in numbers]


def _choice(value: object) -> str | int:
    return value if isinstance(value, int) else str(value)


def key_map(changes: Mapping[str, str | Sequence[str]] | None) -> dict[str, list[str]]:
    """The keys of each action, with a person's own in the place of ours.

    Raises:
        ConfigError: no such action, or one key for two actions.
    """
    changes = changes or {}
    unknown = sorted(set(changes) - set(KEYS))
    if unknown:
        raise ConfigError(
            f"there is no action {unknown[0]!r}",
            where="Labeller(keys=...)",
            fix=f"{nearest(unknown[0], KEYS)}use one of: {', '.join(KEYS)}",
        )
    table = {
        action: [keys] if isinstance(keys, str) else list(keys)
        for action, keys in {**KEYS, **changes}.items()
    }
    owner: dict[str, str] = {}
    for action, keys in table.items():
        for key in keys:
            if owner.setdefault(key, action) != action:
                raise ConfigError(
                    f"the key {key!r} would mean both {owner[key]!r} and {action!r}",
                    where="Labeller(keys=...)",
                    fix="give each action keys of its own",
                )
    return table
