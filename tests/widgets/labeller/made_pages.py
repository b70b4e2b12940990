"""Items to label that have something to hide, and a page without a browser."""

import json
import uuid

from workbench.data.pairs import Pair, Pairs


def said(text, role="assistant"):
    return [{"role": role, "content": text}]


def items(count=12):
    return Pairs.from_items(
        Pair.make(
            said(f"question {n}", "user"),
            [said(f"good {n}"), said(f"poor {n}")],
            label={"kind": "choice", "winner": 0, "scores": [7.25, 1.5]},
            source={"file": "secret.jsonl", "row": n},
            meta={"model": "gpt-secret"},
        )
        for n in range(count)
    )


class Page:
    """What the browser does, without one: sends messages, keeps the answers."""

    def __init__(self, widget):
        self.widget, self.heard = widget, []
        widget.send = lambda content, buffers=None: self.heard.append(
            json.loads(json.dumps(content))
        )

    def tell(self, **content):
        before = len(self.heard)
        self.widget._handle_custom_msg(content, [])
        return self.heard[-1] if len(self.heard) > before else None

    def act(self, action, token=None, ident=None, **detail):
        return self.tell(
            type="act", id=ident or str(uuid.uuid4()), action=action, token=token, **detail
        )
