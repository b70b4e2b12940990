"""Batch work in a child process: sample answers, score them, put two models side by side."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, overload

from workbench import quick
from workbench.errors import ConfigError, DataError, check_option
from workbench.progress import working
from workbench.runs import run_job
from workbench.settings import PPOSettings
from workbench.shown_results import Scores, WrittenPath
from workbench.verbs.load_data import load_prompts
from workbench.verbs.model_names import Model, check_model, model_name, short_names
from workbench.world.judge import gold_score

if TYPE_CHECKING:
    from workbench.data.messages import Message
    from workbench.data.pairs import Pairs

Progress = Callable[[dict[str, Any]], None]
Answers = list[list[dict[str, Any]]]  # by prompt
EXPORTED = ("auto", "float32", "bfloat16", "float16")  # what weights can be written as


def answers(
    models: Sequence[Model],
    prompts: Any,
    *,
    responses: int = 1,
    with_kl: bool = False,
    on_progress: Progress | None = None,
    **settings: Any,
) -> list[list[list[dict[str, Any]]]]:
    """Sample answers of several models, in a child process.

    Args:
        models: names, folders or runs.
        prompts: what :func:`load_prompts` reads.
        responses: answers to each prompt.
        with_kl: measure each answer's exact KL from what its model started from [nats].
        on_progress: told how far it is.
        settings: temperature, response_length, seed, quantization, device as in ``PPOSettings``.

    Returns:
        For each model, for each prompt, its answers as ``{"text", "ended", "tokens", "kl"}``.
    """
    checked = PPOSettings.from_dict(settings)
    for model in models:
        check_model(model, "model", "answers")
    request = {
        "prompts": load_prompts(prompts),
        "models": [model_name(model) for model in models],
        "responses": responses,
        "with_kl": with_kl,
        "settings": checked.to_dict(),
    }
    return run_job("answers", request, on_progress=on_progress)["answers"]


@working("sample_pairs")
def sample_pairs(model: Model, prompts: Any, responses: int = 2, **settings: Any) -> "Pairs":
    """Step 1 of the lecture: a prompt, several answers of the model, to be judged by a person.

    Answers that come out equal are drawn again a few times; a prompt whose answers stay equal is
    left out.

    Raises:
        ConfigError: fewer than two answers to a prompt, which leave nothing to judge.
    """
    from workbench.data.pairs import Pair, Pairs

    if responses < 2:
        raise ConfigError(
            f"{responses} answers to a prompt leave nothing to judge",
            where=f"responses={responses}",
            fix="give 2 or more",
        )
    PPOSettings.from_dict(settings)
    check_model(model, "model", "answers")
    messages = quick.few(load_prompts(prompts), quick.PROMPTS)
    drawn = answers([model], messages, responses=responses * 2, **settings)[0]
    items: list[Pair] = []
    for prompt, rows in zip(messages, drawn, strict=True):
        texts = list(dict.fromkeys(row["text"] for row in rows if row["text"]))[:responses]
        if len(texts) == responses:
            source = {"dataset": "sample_pairs", "model": model_name(model)}
            answered: list[list[Message]] = [[{"role": "assistant", "content": t}] for t in texts]
            items.append(Pair.make(prompt, answered, source=source))
    return Pairs.from_items(items)


class ScoresAndSpread(NamedTuple):
    """Scores with how far the members of an ensemble are apart.

    Attributes:
        mean: over the members, for each answer; NaN where an answer is too long.
        spread: the members' standard deviation (of M, not M - 1); 0 where there is one member.
    """

    mean: list[float]
    spread: list[float]

    def _repr_html_(self) -> str:
        return Scores(self.mean).with_spread(self.spread)


@overload
def score(
    reward: Model,
    prompts: Any,
    responses: "Iterable[str | list[Message]]",
    *,
    spread: Literal[False] = False,
    **settings: Any,
) -> Scores: ...


@overload
def score(
    reward: Model,
    prompts: Any,
    responses: "Iterable[str | list[Message]]",
    *,
    spread: Literal[True],
    **settings: Any,
) -> ScoresAndSpread: ...


@working("score")
def score(
    reward: Model,
    prompts: Any,
    responses: "Iterable[str | list[Message]]",
    *,
    spread: bool = False,
    **settings: Any,
) -> Scores | ScoresAndSpread:
    """Scores of answers by a trained reward model, mean 0 and deviation 1 on SFT answers.

    An answer that fills ``max_length`` has none: NaN. Of an ensemble the score is the mean over
    its members, each of which has deviation 1; the mean's is a little less.

    Args:
        reward: a run of :func:`train_reward`, or its folder.
        prompts: what :func:`load_prompts` reads.
        responses: one for each prompt: its text, or its messages.
        spread: return :class:`ScoresAndSpread`: the mean, and how far the members are apart.
        settings: quantization, dtype, device, max_length as in ``PPOSettings``.

    Raises:
        DataError: prompts and responses do not pair up, or a response cannot be read.
    """
    by_member = member_scores(reward, prompts, responses, **settings)
    by_answer = list(zip(*by_member, strict=True))
    mean = Scores(fmean(own) for own in by_answer)
    return ScoresAndSpread(mean, [deviation(own) for own in by_answer]) if spread else mean


def member_scores(
    reward: Model, prompts: Any, responses: "Iterable[str | list[Message]]", **settings: Any
) -> list[list[float]]:
    """Scores of answers by each member of a reward model; one list where it is no ensemble.

    Raises:
        DataError: prompts and responses do not pair up, or a response cannot be read.
    """
    checked = PPOSettings.from_dict(settings)
    check_model(reward, "reward", "scores")
    messages, answered = load_prompts(prompts), _read_responses(responses)
    if len(messages) != len(answered):
        raise DataError(
            "prompts and responses do not pair up",
            where=f"{len(messages)} prompts, {len(answered)} responses",
            fix="give one response for each prompt, in the same order",
        )
    request = {
        "reward": model_name(reward),
        "prompts": messages,
        "responses": answered,
        "settings": checked.to_dict(),
    }
    by_member = run_job("scores", request)["scores"]
    # JSON has no NaN: a null stands for it
    return [[math.nan if value is None else value for value in own] for own in by_member]


def _read_responses(responses: Any) -> "list[str | list[Message]]":
    """Each response as text or as messages; numbers in the errors count from 1."""
    from workbench.data.messages import Unusable, as_messages

    if isinstance(responses, str | Mapping) or not isinstance(responses, Iterable):
        raise DataError(
            f"responses are a {type(responses).__name__}, no list",
            where="responses",
            fix="give a list with one response for each prompt: its text, or its messages",
        )
    read: list[str | list[Message]] = []
    for number, response in enumerate(cast("Iterable[Any]", responses), start=1):
        try:
            turns = as_messages(response, "assistant")
        except Unusable as why:
            raise DataError(
                why.reason, where=f"response {number}", fix="give its text, or its messages"
            ) from why
        if not turns:
            raise DataError(
                "a response has no message", where=f"response {number}", fix="give its text"
            )
        read.append(response if isinstance(response, str) else turns)
    return read


@working("export_model")
def export_model(
    model: Model, folder: str | Path, *, dtype: str = "auto", **settings: Any
) -> WrittenPath:
    """Write a run's model as plain weights, its adapter merged into the base, for other tools.

    A reward model becomes a sequence classifier with one label, any other a causal language model.
    The base is taken as the run saw it (4-bit values unpacked), so that the scores stay the same;
    nothing is merged into 4 bits. A reward model's ``reward.json`` is written beside it.

    Args:
        model: a run or its ``final/``; of an ensemble one member's folder.
        folder: where to; must not exist yet.
        dtype: "float32", "bfloat16", "float16", or "auto": what the run computed in.
        settings: device and threads as in ``PPOSettings``.

    Raises:
        ConfigError: the folder exists, or the dtype is none of weights.
        ModelError: there is no adapter to merge, or there are several.
    """
    target = Path(folder).expanduser().absolute()
    checked = PPOSettings.from_dict(settings).to_dict()
    check_option(dtype, EXPORTED, "dtype")
    check_model(model, "model")
    if target.exists():
        raise ConfigError(
            "there is something there already", where=str(target), fix="give a folder that is new"
        )
    request = {"model": model_name(model), "folder": str(target), "dtype": dtype}
    run_job("export", {**request, "settings": checked})
    return WrittenPath(target)


def deviation(values: Sequence[float]) -> float:
    """Standard deviation of all there is (of M, not M - 1); NaN where a value is."""
    mean = fmean(values)
    return math.sqrt(fmean((value - mean) ** 2 for value in values))


def before_and_after(
    models: Sequence[Model],
    prompts: Any,
    *,
    reward: Model | None = None,
    gold: bool = True,
    with_kl: bool = False,
    best_of: int = 1,
    on_progress: Progress | None = None,
    **settings: Any,
) -> list[dict[str, Any]]:
    """One row a prompt: ``{"prompt", "answers": [{"model", "text", "score", "gold", "kl"}]}``.

    With ``best_of`` above 1 a second column has the best of so many answers of the first model,
    as the reward model sees them.

    Raises:
        ConfigError: the best of several answers is asked for, and no reward model to choose it.
    """
    check_comparison(models, reward, best_of, settings)
    messages = quick.few(load_prompts(prompts), quick.PROMPTS)
    sampled = answers(models, messages, with_kl=with_kl, on_progress=on_progress, **settings)
    columns = dict(zip(short_names(models), ([own[0] for own in t] for t in sampled), strict=True))
    several: Answers = []
    if best_of > 1:
        several = answers(models[:1], messages, responses=best_of, **settings)[0]
    if reward is not None:
        _add_scores(
            messages, [*([a] for t in columns.values() for a in t), *several], reward, settings
        )
    names = column_names(models, best_of)
    if several:
        columns[names[1]] = [
            max(own, key=lambda a: -math.inf if math.isnan(a["score"]) else a["score"])
            for own in several
        ]
    return [
        {
            "prompt": prompt[-1]["content"],
            "messages": prompt,
            "answers": [_named(name, columns[name][index], prompt, gold) for name in names],
        }
        for index, prompt in enumerate(messages)
    ]


def check_comparison(
    models: Sequence[Model], reward: Model | None, best_of: int, settings: dict[str, Any]
) -> None:
    """Refuse a comparison that cannot be, before anything is loaded for it.

    Raises:
        ConfigError: a setting that cannot be; or the best of several answers is asked for, and no
            reward model to choose it.
        ModelError: there is no such model, or it does not do what it is here for.
    """
    PPOSettings.from_dict(settings)
    for model in models:
        check_model(model, "model", "answers")
    if reward is not None:
        check_model(reward, "reward", "scores")
    elif best_of > 1:
        raise ConfigError(
            "the best of several answers needs a reward model to choose it",
            where=f"best_of={best_of}",
            fix="give reward=, a run of wb.train_reward",
        )


def column_names(models: Sequence[Model], best_of: int = 1) -> list[str]:
    """What the columns of :func:`before_and_after` are called."""
    names = short_names(models)
    return [names[0], f"{names[0]}, best of {best_of}", *names[1:]] if best_of > 1 else names


def _named(
    name: str, answer: dict[str, Any], prompt: "list[Message]", gold: bool
) -> dict[str, Any]:
    """An answer as a comparison shows it."""
    judged = {"gold": gold_score(prompt, answer["text"])} if gold else {}
    return {"model": name, **answer, **judged}


def _add_scores(
    prompts: "list[list[Message]]", groups: Answers, reward: Model, settings: dict[str, Any]
) -> None:
    """Score groups of answers, all at once; the groups go through the prompts again and again."""
    flat = [
        (prompts[index % len(prompts)], answer)
        for index, group in enumerate(groups)
        for answer in group
    ]
    scores = score(reward, [p for p, _ in flat], [a["text"] for _, a in flat], **settings)
    for (_, answer), value in zip(flat, scores, strict=True):
        answer["score"] = value
