"""Which thread of the kernel answers a page."""

from typing import Any


def answer_from_any_thread(widget: Any) -> None:
    """Let ipykernel 7.4 answer a page's message while a cell runs.

    It hands the message to the thread that spoke last on the widget's comm, for us mostly the
    main one, which a cell blocks. Without that note it takes the subshell that JupyterLab names.
    To be called after each message that was sent. Where there is no such note (another version,
    another kernel) this does nothing.
    """
    getattr(widget.comm, "__dict__", {}).pop("_reply_subshell_id", None)
