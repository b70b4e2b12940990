"""The labeller in a page: found, looked at, and with the keyboard."""

from typing import Any

from playwright.sync_api import expect


def focus_labeller(page: Any) -> Any:
    """The labeller of a page, scrolled into view, with its first item, and the keys."""
    root = page.locator(".wbl")
    root.wait_for(state="attached")
    root.scroll_into_view_if_needed()
    expect(root.locator(".wbl-prompt")).to_contain_text("question")
    root.locator(".wbl-question").click()
    expect(root).to_be_focused()
    return root


def is_clean(page: Any) -> None:
    """The page threw no error, and asked for nothing beyond its server."""
    assert page.problems == [] and page.outside == []
