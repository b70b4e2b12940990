"""What a reward score is made of, why its mean rose, which labels pushed it; those judged again."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ConfigError, DataError, RunError
from workbench.progress import working
from workbench.runs import Run, run_job
from workbench.settings import PPOSettings
from workbench.verbs import batch
from workbench.verbs.load_data import as_pairs, check_source, load_prompts
from workbench.verbs.model_names import Model, check_model, model_name
from workbench.verbs.reward_evaluation import evaluate_reward
from workbench.verbs.train import finished, open_run, train_reward

if TYPE_CHECKING:
    from workbench.data.pairs import Pair, Pairs
    from workbench.reports.label_influence import LabelInfluence, Retrained
    from workbench.reports.score_parts import ScoreParts
    from workbench.reports.why_rose import WhyRose


@working("why")
def why(reward: Model, prompt: Any, *responses: str, **settings: Any) -> "ScoreParts":
    """Why an answer scores what it scores: each token's part of its reward score, as a heat map.

    The parts add up to the score less that of an answer without words. A part is what the score
    loses when the token is taken away, on average over orders in which all are taken away. Each
    sentence is also left out by itself, as a check. ``.frame`` has a row a token.

    Args:
        reward: a run of :func:`train_reward`, or its folder.
        prompt: a text, or the messages of a conversation.
        responses: one answer; several stand side by side, on one scale.
        settings: quantization, dtype, device, max_length, seed as in ``PPOSettings``.

    Raises:
        DataError: there is no answer, or one is so long that it has no score.
    """
    from workbench.reports.score_parts import ScoreParts

    checked = PPOSettings.from_dict(settings)
    check_model(reward, "reward", "scores")
    if not responses:
        raise DataError(
            "there is no answer to explain",
            where="wb.why",
            fix="give one behind the prompt: wb.why(reward, prompt, response)",
        )
    request = {
        "reward": model_name(reward),
        "prompts": list(load_prompts([prompt])) * len(responses),
        "responses": list(responses),
        "settings": checked.to_dict(),
    }
    return ScoreParts(run_job("attributions", request)["attributions"])


@working("influence")
def influence(
    reward: Model, pairs: Any = None, *, prompt: Any = None, response: str | None = None
) -> "LabelInfluence":
    """Which labels did this: the training pairs that pushed some margins or a score, up or down.

    Asked for the first time it takes the gradient of each training pair, once (it says how long);
    they are kept with the run, and the next question takes seconds. ``.blamed(100)`` are the pairs
    that pushed down the most: ``wb.label`` of them judges them again.

    Args:
        reward: a finished run of :func:`train_reward`.
        pairs: labelled pairs whose margins are asked about; None, and no answer: those that the
            run kept aside, each counted by how wrong it is.
        prompt: with ``response``, of the answer whose score is asked about.
        response: the answer.

    Raises:
        RunError: it is no reward run of ours, or is not finished.
        DataError: there is no pair to explain, or pairs and an answer were given.
    """
    from workbench.reports.label_influence import LabelInfluence

    check_model(reward, "reward")
    run = _reward_run(reward)
    if (prompt is None) != (response is None) or (pairs is not None and prompt is not None):
        raise DataError(
            "pairs, or one prompt with its response, can be asked about",
            where="wb.influence",
            fix="give wb.influence(run, pairs), or wb.influence(run, prompt=..., response=...)",
        )
    targets: list[dict[str, Any]] | None = None
    if pairs is not None:
        targets = as_pairs(pairs).training_rows()
    elif response is not None:
        answer = [{"role": "assistant", "content": response}]
        targets = [{"prompt": load_prompts([prompt])[0], "chosen": answer}]
    rows = list(run.folder.data_rows())
    request = {"reward": str(run.path), "rows": rows, "folder": str(run.path), "targets": targets}
    settings = {"kind": "reward", "settings": run.config["settings"]}
    result = run_job("influences", {**request, **settings})
    learned = [rows[number] for number in result["rows"]]
    return LabelInfluence(run.name, learned, result["pushes"], result["margins"], result["targets"])


@working("relabel_and_retrain")
def relabel_and_retrain(
    reward: Model,
    again: Any = None,
    *,
    leave_out: Any = None,
    heldout: Any,
    prompt: Any = None,
    response: str | None = None,
    name: str | None = None,
) -> "Retrained":
    """Train a reward run again with some of its labels mended, and show what that changed.

    The new run has the settings and the seed of the first. Both are measured on the same held-out
    pairs.

    Args:
        reward: a finished run of :func:`train_reward`.
        again: pairs of it with their labels as they are now, such as ``store.pairs()``; one that
            is a tie now has no winner to learn; one without a label stays as it was.
        leave_out: pairs of it that go out, such as ``wb.influence(run).blamed(100)``.
        heldout: labelled pairs to measure on, which neither run learned from.
        prompt: with ``response``, of an answer whose score is shown, before and after.
        response: the answer.
        name: of the new run; None: the first one's with ``-again``.

    Raises:
        RunError: it is no reward run of ours, or is not finished.
        DataError: none of the pairs is one of its with another label, or a response has no prompt.
    """
    from workbench.reports.label_influence import Retrained, pairs_of_rows

    check_model(reward, "reward")
    for source in (again, leave_out, heldout):
        check_source(source)
    run = _reward_run(reward)
    if (prompt is None) != (response is None):
        raise DataError(
            "an answer's score takes a prompt and a response",
            where="wb.relabel_and_retrain",
            fix="give prompt=... and response=..., or neither",
        )
    learned = pairs_of_rows(run.folder.data_rows())
    kept, changed = _mended(
        learned,
        {} if again is None else {pair.id: pair for pair in as_pairs(again) if pair.label},
        set() if leave_out is None else {pair.id for pair in as_pairs(leave_out)},
    )
    if not len(changed):
        raise DataError(
            "no label of this run would change",
            where=f"{run.name}, which learned from {len(learned):,} pairs",
            fix="give pairs of wb.influence(run).blamed(): judged again, or as leave_out=",
        )
    settings, title = run.config["settings"], name or f"{run.name}-again"
    trained = finished(train_reward(run.config["model"], kept, name=title, **settings))
    rows = changed.training_rows()
    prompts = [row["prompt"] for row in rows] * 2
    answers = [row[side] for side in ("chosen", "rejected") for row in rows]
    if response is not None:
        prompts, answers = [*prompts, load_prompts([prompt])[0]], [*answers, response]
    scores = [
        list(batch.score(each, prompts, answers)) if answers else [] for each in (run, trained)
    ]
    before, after = (evaluate_reward(each, heldout) for each in (run, trained))
    return Retrained(before, after, trained, changed, scores)


def _mended(learned: "Pairs", judged: dict[str, "Pair"], gone: set[str]) -> "tuple[Pairs, Pairs]":
    """The pairs to learn from now, and those that are other now or gone, as they were."""
    from workbench.data.pairs import Pairs, choice_rows

    kept, changed = list["Pair"](), list["Pair"]()
    for pair in learned:
        now = judged.get(pair.id, pair)
        was, wins = ([row["chosen"] for row in choice_rows(each)] for each in (pair, now))
        if pair.id in gone or was != wins:
            changed.append(pair)
        if pair.id not in gone:
            kept.append(pair if was == wins else now)
    return Pairs.from_items(kept), Pairs.from_items(changed)


@working("why_rose")
def why_rose(run: Run | str | Path, first: int | None = None, last: int | None = None) -> "WhyRose":
    """Why the reward score rose: its change between two updates, split into named features.

    Of the watched answers: length, refusals, lists, repetition and their like, and the openings,
    closings and phrases that came or went. A feature's part is how much of the change it tells;
    the parts and a rest add up to it. ``.frame`` has a row a feature.

    Args:
        run: of :func:`train_ppo`, :func:`train_online_dpo`, or :func:`train_dpo` with a reward;
            itself, its name or its folder.
        first: the earlier update, one at which the watched prompts were answered; None: the first.
        last: the later one; None: the newest.

    Raises:
        RunError: there is no such run, or its answers have no reward scores at two updates.
        ConfigError: no answers were sampled at such an update.
    """
    from workbench.analysis.score_rise import rise_of_steps
    from workbench.reports.why_rose import WhyRose

    run = run if isinstance(run, Run) else open_run(run)
    rows = [row for row in run.folder.samples() if row.get("score") is not None]
    steps = sorted({row["step"] for row in rows})
    if len(steps) < 2:
        raise RunError(
            f"{run.name} is a {run.kind} run whose watched answers have reward scores at "
            f"{len(steps)} of its steps; it takes two",
            where=str(run.path),
            fix="give a run of wb.train_ppo or wb.train_online_dpo with watch_prompts above 0, or "
            "one of wb.train_dpo with reward=, after its second look",
        )
    ends = steps[0] if first is None else first, steps[-1] if last is None else last
    if not set(ends) <= set(steps) or ends[0] >= ends[1]:
        raise ConfigError(
            f"no change can be told from step {ends[0]} to step {ends[1]}",
            where=f"wb.why_rose, run {run.name}",
            fix=f"choose two of {', '.join(map(str, steps))}, the earlier one first",
        )
    rise = rise_of_steps(steps, lambda step: [r for r in rows if r["step"] == step], *ends)
    assert rise is not None, "both steps have answers"
    return WhyRose(run.name, rise, "update" if run.kind == "ppo" else "step")


def _reward_run(reward: Model) -> Run:
    """A finished reward run of ours.

    Raises:
        RunError: it is none.
    """
    run = reward if isinstance(reward, Run) else open_run(str(reward))
    if run.kind != "reward" or run.status != "finished":
        raise RunError(
            f"{run.name} is a {run.kind} run, {run.status}",
            where=str(run.path),
            fix="give a finished run of wb.train_reward, which keeps the pairs it learned from",
        )
    return run
