"""Markdown becomes HTML that can do nothing and loses no letter."""

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.widgets.kit.markdown import LONGEST, TAGS, rendered, rendered_messages

TAG = re.compile(r"<(/?)([a-z0-9]+)>")


def test_what_is_for_reading_is_rendered():
    html = rendered("# T\n\n**b** *i* ~~s~~ `c<d`\n\n- x\n\n| a | b |\n|-|-|\n| 1 | 2 |")
    for part in ("<h1>T</h1>", "<strong>b</strong>", "<em>i</em>", "<s>s</s>"):
        assert part in html
    for part in ("<code>c&lt;d</code>", "<li>x</li>", "<th>a</th>", "<td>2</td>"):
        assert part in html
    code = rendered("```python\nif a < b: pass\n```")
    assert code == "<em>python</em><pre><code>if a &lt; b: pass\n</code></pre>"


def test_the_numbers_of_a_list_stay_as_they_were_written():
    assert "<li>5. five</li>" in rendered("5. five\n6) six")
    assert "6) six" in rendered("5. five\n6) six")


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("<script>x()</script>", "<p>&lt;script&gt;x()&lt;/script&gt;</p>\n"),
        ("<b>t</b> <!-- c -->", "<p>&lt;b&gt;t&lt;/b&gt; &lt;!-- c --&gt;</p>\n"),
        ('[a](javascript:x "t")', "<p><u>a (javascript:x t)</u></p>\n"),
        ("[**a** b](http://e.x)", "<p><u><strong>a</strong> b (http://e.x)</u></p>\n"),
        ("[a]()", "<p><u>a</u></p>\n"),
        ("<http://e.x/?a=1&b>", "<p><u>http://e.x/?a=1&amp;b</u></p>\n"),
        ("![i](http://e.x/p.png)", "<p>!<u>i (http://e.x/p.png)</u></p>\n"),
        ("[r]: http://e.x", "<p>[r]: http://e.x</p>\n"),
        ("&amp; &#0;", "<p>&amp;amp; &amp;#0;</p>\n"),
        ("a\x00\ud800\u202e", "<p>a\ufdd00000\ufdd1\ufdd0D800\ufdd1\u202e</p>\n"),
        ("a\r\nb", "<p>a<br>\nb</p>\n"),
    ],
)
def test_what_could_act_or_vanish_is_text(text, html):
    assert rendered(text) == html


def test_what_rendering_would_lose_is_shown_as_written():
    assert rendered("> " * 500 + "deep") is None
    assert rendered("| a |\n|-|\n| 1 | surplus |") is None
    assert rendered("x" * (LONGEST + 1)) is None and rendered("x" * LONGEST) is not None
    messages = [{"role": "user", "content": "x"}, {"role": "user", "content": "> " * 500 + "y"}]
    assert rendered_messages(messages) == ["<p>x</p>\n", None]


HOSTILE = """<script> | <img src=x onerror=y> | ]( | [a | javascript:x) | ** | ` | ``` | &lt; | <
 | > | - | 1. | word | 日本 | " | ' | <a href=x> | </p> | <!-- | ![ | ![](x) | <http://a.b> | é
 | # | ~~"""
PIECES = st.sampled_from(
    [
        *HOSTILE.replace("\n", "").split(" | "),
        *("\n", "\n\n", "\t", "\\", "|", "|-|\n", " ", "    "),
        *("\x00", "\ud800", "\u202e", "\u2028"),
    ]
)


@given(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=60))
def test_nothing_but_plain_tags_is_left_and_no_letter_is_lost(text):
    html = rendered(text)
    if html is None:
        return
    tags = re.findall(r"<[^>]*>", html)
    assert all(TAG.fullmatch(tag) and TAG.fullmatch(tag)[2] in TAGS for tag in tags)
    html.encode("utf-8")
    shown = re.sub("\ufdd0(....)\ufdd1", lambda m: chr(int(m[1], 16)), unescape(TAG.sub("", html)))
    assert [c for c in shown if c.isalnum()] == [c for c in text if c.isalnum()]
