from workbench.data.pairs import Pair
from workbench.reports.label_influence import LabelInfluence, pair_of_row


def row(number):
    def said(role, text):
        return [{"role": role, "content": f"{text} {number}"}]

    sides = {"chosen": said("assistant", "good"), "rejected": said("assistant", "<b>")}
    return {"prompt": said("user", "say"), **sides, "margin": None, "weight": 1.0}


def found(pushes):
    rows = [row(number) for number in range(len(pushes))]
    return LabelInfluence("mine", rows, pushes, [1.0] * len(pushes), 3)


def test_those_that_pushed_down_the_most_come_first():
    told = found([0.5, -1.0, 0.0, -2.0])
    assert told.pushes == [-2.0, -1.0, 0.0, 0.5]
    assert list(told.frame["chosen"]) == ["good 3", "good 1", "good 2", "good 0"]


def test_the_blamed_are_pairs_to_judge_again():
    told = found([0.5, -1.0, 0.0, -2.0])
    assert [pair.prompt[0]["content"] for pair in told.blamed()] == ["say 3", "say 1"]
    assert len(told.blamed(1)) == 1
    worst = Pair.make(row(3)["prompt"], [row(3)["rejected"], row(3)["chosen"]])
    assert told.blamed(1).ids() == [worst.id]  # whatever the order of its answers
    assert told.frame["id"].iloc[0] == worst.id


def test_a_row_keeps_its_margin_as_a_pair():
    pair = pair_of_row({**row(1), "margin": 2.0})
    assert pair.label == {"kind": "choice", "winner": 0, "strength": None, "margin": 2.0}


def test_both_ends_are_shown_and_texts_stay_texts():
    html = found([float(i) for i in range(-6, 6)])._repr_html_()
    assert "12 labels of mine by how far each pushed 3 margins or scores" in html
    ends = [html.index(f"{push}00.00%") for push in ("−6", "−2", "+5", "+1")]
    assert ends == sorted(ends)
    assert "+0.00%" not in html
    assert "<b>" not in html
