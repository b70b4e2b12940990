"""Rewards that need no reward model: for a first look at a model, and to see that PPO learns."""

from collections.abc import Mapping, Sequence


def letter_e(
    prompts: Sequence[Sequence[Mapping[str, str]]], responses: Sequence[str]
) -> list[float]:
    """Of every twenty letters of an answer, how many are an e; of an answer without letters, 0.

    Every answer has some, so that any two answers differ; every token moves it, so that a policy
    finds it in a few updates, also where no answer ends by itself; and a reader can check it.
    Plain English has about two and a half.
    """
    lowered = [text.lower() for text in responses]
    return [20.0 * text.count("e") / max(1, sum(map(str.isalpha, text))) for text in lowered]
