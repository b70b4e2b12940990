"""Markdown that people and models wrote, as HTML that can do nothing.

Three walls, each enough by itself: the renderer (markdown-it) escapes HTML and makes neither links
nor images; the sanitiser (nh3) lets through tags for reading only, without a single attribute; and
the page (``markdown.js``) builds its own elements from what is left, text as text.
"""

import re
from collections.abc import Mapping, Sequence
from html import unescape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

from workbench.widgets.kit.wire import outgoing

LONGEST = 60_000
"""Characters of one message that are rendered; a longer one is shown as it was written."""

TAGS = frozenset(
    [
        *("p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "strong", "em", "s", "code", "pre"),
        *("blockquote", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "u"),
    ]
)
"""What is left of HTML; ``u`` marks what was a link."""

_FRAGILE = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_TAG = re.compile("<[^>]*>")
_SYNTAX = re.compile(r"[\s!-/:-@\[-`{-~]")  # space and ASCII punctuation: what Markdown is made of


def rendered(text: str) -> str | None:
    """Return Markdown as harmless HTML; None where the text is to be shown as it was written.

    That is where it is too long, and where a letter of it would be lost (a table's surplus cells,
    quotes too deep). A link is its text, then its address in brackets, underlined and not to be
    clicked. An image is the text it was written as. Control characters and lone surrogates travel
    as in ``wire.py``.
    """
    if len(text) > LONGEST:
        return None
    sent = outgoing(text.replace("\r\n", "\n"))
    safe = _FRAGILE.sub(lambda match: f"\ufdd0{ord(match.group()):04X}\ufdd1", sent)
    clean = nh3.clean(_MARKDOWN.render(safe), tags=set(TAGS), attributes={}, link_rel=None)
    left = unescape(_TAG.sub("", clean))
    return clean if _SYNTAX.sub("", left) == _SYNTAX.sub("", safe) else None


def rendered_messages(messages: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """Return each message's content, rendered."""
    return [rendered(str(message["content"])) for message in messages]


def _link_close(_renderer: Any, tokens: Sequence[Token], place: int, *_: Any) -> str:
    depth = 0
    for token in reversed(tokens[: place + 1]):
        depth += {"link_close": 1, "link_open": -1}.get(token.type, 0)
        if token.type == "link_open" and depth == 0:
            address = [str(token.attrs.get(name, "")) for name in ("href", "title")]
            inside = "" if token.info == "auto" else " ".join(filter(None, address))
            return f" ({_escaped(inside)})</u>" if inside else "</u>"
    return "</u>"


def _fence(_renderer: Any, tokens: Sequence[Token], place: int, *_: Any) -> str:
    """A code block under its language, which a renderer would put into an attribute."""
    token = tokens[place]
    name = f"<em>{_escaped(token.info.strip())}</em>" if token.info.strip() else ""
    return f"{name}<pre><code>{_escaped(token.content)}</code></pre>"


def _item_open(_renderer: Any, tokens: Sequence[Token], place: int, *_: Any) -> str:
    """An item of a numbered list under the number that was written."""
    token = tokens[place]
    return f"<li>{token.info}{token.markup} " if token.info else "<li>"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _reader() -> MarkdownIt:
    """A reader without raw HTML, images, and definitions, which would vanish from the page."""
    reader = MarkdownIt("commonmark", {"html": False, "breaks": True})
    reader.enable(["table", "strikethrough"]).disable(["image", "reference", "html_block"])
    reader.disable(["html_inline", "entity"])
    reader.validateLink = lambda url: True  # pyright: ignore[reportAttributeAccessIssue]  inert
    reader.normalizeLink = str  # pyright: ignore[reportAttributeAccessIssue]
    reader.add_render_rule("link_open", lambda *_: "<u>")
    reader.add_render_rule("link_close", _link_close)
    reader.add_render_rule("fence", _fence)
    reader.add_render_rule("list_item_open", _item_open)
    return reader


_MARKDOWN = _reader()
