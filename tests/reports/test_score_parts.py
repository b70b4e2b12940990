from workbench.reports.score_parts import ScoreParts

ANSWER = {
    "texts": ["Yes", ".", " <b>", "<end>"],
    "score": 1.5,
    "empty": 0.5,
    "parts": [2.0, -0.5, -0.5, 0.0],
    "errors": [0.1, 0.2, 0.3, 0.0],
    "together": 1,
    "sentences": [
        {"first": 0, "end": 2, "without": 0.25},
        {"first": 2, "end": 3, "without": 2.0},
    ],
}


def test_sum_gap_and_sentences_are_said():
    shown = repr(ScoreParts([ANSWER]))
    assert "score +1.50 = +0.50 without a word, +1.00 by its tokens\n" in shown
    assert "“Yes” +2.00, “.” −0.50, “<b>” −0.50" in shown
    assert "+1.50 (left out by itself: +1.25)  Yes." in shown
    assert "−0.50 (left out by itself: −0.50)  <b>" in shown


def test_a_gap_is_what_the_parts_leave_open():
    parts = ScoreParts([ANSWER, {**ANSWER, "score": 1.75}])
    assert parts.gaps == [0.0, -0.25]
    assert repr(parts).count("+1.00 by its tokens (0.25 not told by them)") == 1


def test_the_heat_map_says_in_words_what_it_says_in_colour():
    html = ScoreParts([ANSWER, ANSWER])._repr_html_()
    assert html.count("title='+2.00 ± 0.10'>Yes</span>") == 2
    assert "border-bottom:2px dotted #E69F00" in html  # not by colour alone
    assert html.count("<b style='font-size:20px'>+1.50</b>") == 2
    assert "<b>" not in html  # a token stays text
    assert html.count("left out by itself") == 2


def test_the_frame_has_a_row_a_token():
    frame = ScoreParts([ANSWER, ANSWER]).frame
    assert list(frame["answer"]) == [0] * 4 + [1] * 4
    assert list(frame["part"][:4]) == ANSWER["parts"]
    assert list(frame["sentence"][:3]) == [0, 0, 1]


def test_a_table_of_no_answers_has_its_columns():
    assert list(ScoreParts([]).frame.columns) == ["answer", "token", "part", "error", "sentence"]
