"""How far to optimise: the optimum where it is known, best-of-n, and a run's score and worth."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench import quick
from workbench.errors import ConfigError, check_option
from workbench.progress import working
from workbench.runs import Run, run_job
from workbench.settings import KINDS, PPOSettings
from workbench.verbs.batch import Progress
from workbench.verbs.gold import gold_scores
from workbench.verbs.load_data import load_prompts
from workbench.verbs.model_names import Model, check_model, model_name, short_names
from workbench.verbs.train import open_run

if TYPE_CHECKING:
    from workbench.data.messages import Message
    from workbench.reports.analytic_check import AnalyticCheck
    from workbench.reports.best_of_n import BestOfN
    from workbench.reports.overoptimisation import Overoptimisation

SIZES = (1, 2, 4, 8, 16, 32, 64)


@working("best_of_n")
def best_of_n(
    model: Model,
    reward: Model,
    prompts: Any,
    n: Sequence[int] = SIZES,
    *,
    heldout_reward: Model | None = None,
    on_progress: Progress | None = None,
    **settings: Any,
) -> "BestOfN":
    """Draw many answers and keep the one with the highest score: the frontier that PPO must beat.

    To each prompt as many answers are drawn as the largest ``n``, once, in a child process. What
    the best of n is worth is then the mean over all subsets of n of them.

    Args:
        model: what answers, usually what PPO starts from.
        reward: the reward model that chooses.
        prompts: what :func:`load_prompts` reads.
        n: numbers of answers to choose among.
        heldout_reward: another reward model, which judges what the first one chose.
        on_progress: told how far it is.
        settings: temperature, response_length, seed, batch_size (answers at once) and more, as in
            ``PPOSettings``.

    Returns:
        A report: ``frame`` has for each n the upper bound of its KL and the reward score, the
        watched score, and the gold score where the prompts are the sample world's.

    Raises:
        ConfigError: ``n`` holds no numbers from 1 up.
        DataError: there is no prompt.
    """
    sizes = sorted(set(n))
    if not sizes or not all(isinstance(each, int) and each >= 1 for each in sizes):
        raise ConfigError(
            "n must be whole numbers of answers, at least 1",
            where=f"n = {list(n)}",
            fix="give for instance [1, 2, 4, 8, 16, 32, 64]",
        )
    checked = PPOSettings.from_dict(settings)
    check_model(model, "model", "answers")
    check_model(reward, "reward", "scores")
    if heldout_reward is not None:
        check_model(heldout_reward, "heldout_reward", "scores")
    messages = quick.few(load_prompts(prompts), quick.PROMPTS)
    rewards = {"score": model_name(reward)}
    if heldout_reward is not None:
        rewards["heldout"] = model_name(heldout_reward)
    request = {
        "model": model_name(model),
        "rewards": rewards,
        "prompts": messages,
        "count": sizes[-1],
        "settings": checked.to_dict(),
    }
    answers = run_job("best_of_n", request, on_progress=on_progress)["answers"]
    _add_gold(messages, answers)
    from workbench.reports.best_of_n import BestOfN

    questions = [prompt[-1]["content"] for prompt in messages]
    return BestOfN(questions, answers, sizes, name=short_names([model])[0])


def _add_gold(prompts: "list[list[Message]]", answers: list[list[dict[str, Any]]]) -> None:
    """The sample world's gold score of each answer; nothing where a prompt is from outside it."""
    flat = [(prompt, row) for prompt, rows in zip(prompts, answers, strict=True) for row in rows]
    scores = gold_scores([prompt for prompt, _ in flat], [row["text"] for _, row in flat])
    if scores is not None:
        for (_, row), score in zip(flat, scores, strict=True):
            row["gold"] = score


@working("overoptimisation")
def overoptimisation(run: Run | str, best_of_n: "BestOfN | None" = None) -> "Overoptimisation":
    """A PPO run's learned, held-out and gold score against √KL, and where they turn down.

    It may be asked while the run goes on. To what was measured, Gao et al.'s (2023) curve
    R0 + d·(α − β·log d) is fitted, d = √KL; a peak is called one where 95 % of resamples have it
    among what was seen.

    Args:
        run: a run of :func:`train_ppo`; with ``heldout_reward`` it shows more.
        best_of_n: what :func:`best_of_n` returned, drawn on the same axes.

    Returns:
        A report: ``sentence``, ``frames`` (updates, fits) and ``figures`` (scores, gold).

    Raises:
        ConfigError: it is no PPO run, or it has not done an update.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    from workbench.reports.overoptimisation import Overoptimisation

    return Overoptimisation(opened.metrics(), opened.name, best_of_n)


@working("analytic_check")
def analytic_check(method: str = "ppo", **settings: Any) -> "AnalyticCheck":
    """A method against the best policy that there is, on a model so small that it can be counted.

    Eight words, answers of at most two, a reward for each of the 57 answers: the optimum is
    π* ∝ π_ref·exp(r/β), for all methods the same. DPO's pairs are judged by Bradley and Terry's
    chances of these rewards. A few seconds in a child process, by the code of every other run.

    Args:
        method: ``ppo``, ``rloo``, ``group``, ``online_dpo`` or ``dpo``.
        settings: changes of what it runs with, by the names of its settings: ``kl_coef`` or
            ``beta`` is β, ``seed`` draws another model and other rewards.

    Returns:
        A report: ``share`` of what can be gained, ``passed``, the exact and the reported KL, and
        ``frame``, a row an answer with its probability under reference, optimum and policy.

    Raises:
        ConfigError: there is no such method or setting.
    """
    from workbench.reports.analytic_check import METHOD_NAMES, AnalyticCheck

    check_option(method, tuple(METHOD_NAMES), "method")
    KINDS[method if method in KINDS else "ppo"].from_dict(settings)
    return AnalyticCheck(run_job("optimum", {"method": method, "changes": settings}), method)
