import numpy as np
import pytest

from workbench.analysis.answer_features import NAMED, features_of, words_of_answer


def counted(answers, before, after, prompts=None):
    ends = np.array(before, dtype=float), np.array(after, dtype=float)
    found = features_of(prompts or ["p"] * len(answers), answers, *ends)
    return {feature.name: feature for feature in found}


@pytest.mark.parametrize(
    ("feature", "text", "value"),
    [
        ("length", "One, two: three.", 3),
        ("length", "", 0),
        ("length", "日本語です", 5),
        ("refuses", "I can not help with that.", 1),
        ("refuses", "Sorry, I can't.", 1),
        ("refuses", "We won’t do it.", 1),
        ("refuses", "You can not miss it.", 0),
        ("repetition", "a b c a b c", 0.25),  # four runs of three, one of them twice
        ("repetition", "a b", 0),
        ("politeness words", "Please, I am glad to help. Thank you!", 3),
        ("hedging words", "Perhaps. I think so.", 2),
        ("speaks of itself", "I know me.", 2),
        ("speaks to the asker", "Your cat likes you.", 2),
        ("numbers", "1) one, 2) two", 2),
        ("words in capitals", "READ this NOW, OK", 2),
        ("emoji", "fine 🙂🙂", 2),
        ("stops in the middle", "It is a", 1),
        ("stops in the middle", "It is a bird.", 0),
        ("bullets or numbers", "- one\n- two", 1),
        ("ends by asking", "And you? ", 1),
    ],
)
def test_a_named_feature_counts_what_it_says(feature, text, value):
    assert NAMED[feature](text) == value


def test_words_and_marks_are_apart():
    assert words_of_answer("Don't, I say!") == ["don't", ",", "i", "say", "!"]


def test_phrases_are_found_where_they_came_or_went():
    answers = ["A cat sleeps all day.", "A dog.", "Right then. A cat.", "Right then. A dog runs."]
    found = counted(answers, [1, 1, 0, 0], [0, 0, 1, 1])
    assert found["opens with “Right then. A”"].counts.tolist() == [0, 0, 1, 1]
    assert not any("“A cat”" in name for name in found)  # as often before as after


def test_what_stands_in_the_same_answers_is_one_feature():
    answers = ["A cat.", "A dog of mine is here.", "A big cat? Tell more?", "A big dog? Tell more?"]
    found = counted(answers, [1, 1, 0, 0], [0, 0, 1, 1])
    assert "ends by asking" in found  # the named one stands for all that came with it
    assert not [name for name, f in found.items() if f.found and f.counts.tolist() == [0, 0, 1, 1]]


def test_a_phrase_that_comes_several_times_is_counted_too():
    answers = ["It is red, I know.", "It is so good, so good, so good.", "Well, I say so good."]
    found = counted(answers, [1, 0, 0], [0, 1, 1])
    name = next(name for name in found if name.endswith(", each time"))
    assert name == "says “so good”, each time" and found[name].counts.tolist() == [0, 3, 1]


def test_what_is_the_same_in_all_answers_tells_nothing():
    assert counted(["a b.", "a b."], [1, 0], [0, 1]) == {}
    assert counted(["", ""], [1, 0], [0, 1]) == {}


def test_words_of_the_request_are_a_share():
    asked = ["Describe the robin please", "Describe the robin please"]
    answers = ["A robin.", "It sings.", "Robin, please."]
    found = counted(answers, [1, 0, 0], [0, 1, 1], [*asked, asked[0]])
    assert found["words of the request"].counts.tolist() == pytest.approx([1 / 3, 0, 2 / 3])


def test_markup_and_marks_do_not_break_a_phrase():
    answers = ["no", "<b>[x](y)</b> (a+b)*", "<b>[x](y)</b> (a+b)*"]
    found = counted(answers, [1, 0, 0], [0, 1, 1])
    assert all(np.isfinite(feature.counts).all() for feature in found.values())
