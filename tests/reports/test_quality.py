"""The report: read in a terminal, in a notebook, and as Plotly figures."""

import re
import sys

import pytest

import workbench as wb
from workbench.data.pairs import Pair, Pairs
from workbench.data.store.label_events import LabelEvent
from workbench.data.store.labels import LabelStore
from workbench.errors import ConfigError, DataError
from workbench.reports.plotly_figures import figure
from workbench.reports.quality import Quality, rate_chart
from workbench.reports.svg_charts import Rate, RateChart, picture


def item(n, winner=1):
    return Pair.make(
        [{"role": "user", "content": f"<b>question {n}</b>"}],
        [[{"role": "assistant", "content": text}] for text in (f"no {n}", f"Sure, {n} times yes")],
        label={"kind": "choice", "winner": winner},
    )


@pytest.fixture
def report(tmp_path):
    with LabelStore(tmp_path / "s.sqlite") as store:
        items = [item(n, winner=n % 10 > 1) for n in range(40)]
        for n, pair in enumerate(items):
            for who in ("ada", "<i>bob</i>"):
                label = {"kind": "choice", "winner": n % 2}
                payload = {"label": label, "choice": "left"}
                store.append(LabelEvent("label", pair.id, who, payload), item=pair)
        yield wb.quality(Pairs.from_items(items), against=items_of(items[:1]), store=store)


def items_of(items):
    return Pairs.from_items(items)


def test_in_a_terminal_each_check_has_a_line_and_what_to_do(report):
    lines = repr(report).splitlines()
    assert lines[0] == "40 items, 40 with a better answer"
    assert "  ● prompts in both sets: 1 with a prompt of the other set" in repr(report)
    assert sum(line.startswith(("  ✓ ", "  ● ", "  ○ ")) for line in lines) == len(report.summary)
    after = lines[1 + next(n for n, line in enumerate(lines) if "prompts in both" in line)]
    assert after.startswith("      split by prompt")


def test_in_a_notebook_texts_are_texts(report):
    page = report._repr_html_()
    assert "<i>" not in page and "&lt;i&gt;bob&lt;/i&gt;" in page
    assert page.count("<svg") == 4  # length, features, sides, agreement; nobody was tested
    assert not re.search(r"color:\s*(?:black|white|#000|#fff)", page)
    assert "prompts in both sets" in page and "undefined: there are none" in page


def test_figures_are_drawn_when_asked_for_and_hold_the_frame(report):
    assert list(report.figures) == ["length", "features", "sides", "agreement"]
    assert "steadiness" not in report.figures and len(report.figures) == 4
    figure = report.figures["sides"]
    assert figure is report.figures["sides"]
    assert list(figure.data[0].x) == [1.0, 1.0, 1.0]
    assert list(figure.data[0].y) == ["everyone", "ada", "&lt;i&gt;bob&lt;/i&gt;"]
    low = report.frames["sides"]["low"][0]
    assert figure.data[0].error_x.arrayminus[0] == pytest.approx(1 - low)
    assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"  # the page shows through, light or dark
    with pytest.raises(ConfigError, match="there is no figure 'steadiness'") as caught:
        report.figures["steadiness"]
    assert "length, features, sides, agreement" in caught.value.fix


def test_without_labels_there_is_no_figure_to_name():
    bare = wb.quality([{"prompt": "p", "responses": ["a", "b"]}])
    assert list(bare.figures) == [] and "<svg" not in bare._repr_html_()
    with pytest.raises(ConfigError, match="there is no figure 'length'"):
        bare.figures["length"]


def test_two_lines_of_one_name_are_two_lines():
    rows = [Rate("everyone", 0.5, None, None), Rate("everyone", 0.75, 0.5, 1.0)]
    drawn = figure(RateChart("Takes the left side", "", rows, 0.5), "here")
    assert list(drawn.data[0].y) == ["1. everyone", "2. everyone"]


def test_without_plotly_the_report_is_there_and_the_figures_say_what_to_install(
    report, monkeypatch
):
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    assert "<table" in report._repr_html_()
    with pytest.raises(ConfigError, match="need plotly"):
        report.figures["length"]


def test_a_picture_shows_rate_interval_and_guide():
    rows = [Rate("ada", 0.5, 0.25, 0.75), Rate("bob", 1.0, None, None)]
    drawn = picture(RateChart("Takes the left side", "", rows, 0.5, ".0%", least=0.0))
    x = [float(n) for n in re.findall(r"cx='([\d.]+)'", drawn)]
    lines = re.findall(r"<line x1='([\d.]+)' x2='([\d.]+)'([^>]*)>", drawn)
    (guide,) = (float(low) for low, _, look in lines if "dasharray" in look)
    ((low, high),) = ((float(a), float(b)) for a, b, look in lines if "stroke-width='3'" in look)
    assert x[0] == guide and guide - low == pytest.approx(high - guide)
    assert x[1] - guide == pytest.approx(2 * (guide - low))
    assert "50%" in drawn and "100%" in drawn


def test_what_is_undefined_is_not_drawn(report):
    frame = report.frames["agreement"].copy()
    frame["value"] = [None, 0.5, float("nan"), 0.25]
    assert [row.value for row in rate_chart(frame, "agreement").rows] == [0.5, 0.25]


def test_a_store_alone_is_its_own_data(tmp_path):
    with LabelStore(tmp_path / "s.sqlite") as store:
        pair = item(1)
        label = {"label": {"kind": "tie"}, "choice": "tie"}
        store.append(LabelEvent("label", pair.id, "ada", label), item=pair)
        report = wb.quality(store)
    assert isinstance(report, Quality)
    assert report.title == "1 item, 0 with a better answer"
    assert "nobody took a side" in repr(report)


def test_each_finding_opens_the_rows_behind_it(report):
    (leaked,) = report.rows("prompts in both sets")
    assert leaked.id == report.frames["leaks"]["id"][0]
    view = report.browse("prompts in both sets")
    assert type(view).__name__ == "Browser"
    assert '.browse("prompts in both sets"): 1 rows' in repr(report)
    assert ".browse(&quot;prompts in both sets&quot;): 1 rows" in report._repr_html_()
    opened = report._repr_html_().split("1 rows</code></summary>")[1].split("</details>")[0]
    assert "&lt;b&gt;question 0&lt;/b&gt;" in opened and "<b>q" not in opened
    assert opened.count("<li>") == 2
    with pytest.raises(DataError, match="no rows are behind 'gold items'") as error:
        report.rows("gold items")
    assert "'prompts in both sets'" in error.value.fix
