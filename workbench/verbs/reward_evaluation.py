"""How good a reward model is, and what more labels would be worth."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import quick
from workbench.progress import working
from workbench.runs import Run, RunFolder, keep_evaluation
from workbench.settings import PPOSettings, RewardSettings
from workbench.verbs import batch
from workbench.verbs.gold import gold_scores
from workbench.verbs.load_data import as_pairs, check_source, no_label
from workbench.verbs.model_names import Model, check_model, model_name, short_names
from workbench.verbs.train import finished, train_reward

if TYPE_CHECKING:
    from workbench.reports.learning_curve import LearningCurve
    from workbench.reports.reward_model import RewardReport


@working("evaluate_reward")
def evaluate_reward(reward: Model, pairs: Any, **settings: Any) -> "RewardReport":
    """How good a reward model is on labels that it was not trained on, and where it fails.

    Every answer of every labelled item is scored once, in a child process. Of a ranking each pair
    of unequal places is compared, and the item counts once. Ties are left out and counted. Where
    the model is a run, the report is also kept in its folder, in ``evaluation.json``.

    Args:
        reward: a run of :func:`train_reward`, or its folder.
        pairs: what :func:`load_pairs` reads; RewardBench's files give accuracy by subset.
        settings: as in :func:`score`.

    Returns:
        A report that holds its figures as a mapping: ``accuracy`` (an equal score is half right),
        its 95 % Wilson interval ``low`` to ``high``, ``longer_wins`` (the accuracy of preferring
        the longer answer), ``ceiling`` (that of the sample world's noiseless judge; NaN for other
        prompts), ``pairs`` (those whose answers both fit into ``max_length``), ``ece``, ``brier``
        and more; ``summary``, ``frames``, ``figures``, and ``worst``, which opens in
        :func:`label`.

    Raises:
        DataError: no pair has a label, or fits.
    """
    PPOSettings.from_dict(settings)
    check_model(reward, "reward", "scores")
    check_source(pairs)
    from workbench.analysis.appraisal import appraise
    from workbench.analysis.scored_items import ScoredItems
    from workbench.models.source import resolve
    from workbench.reports.reward_model import RewardReport

    loaded = as_pairs(pairs)
    sheet = ScoredItems(quick.few(list(loaded), quick.PAIRS))
    if not sheet.items:
        raise no_label(loaded)
    prompts = [answer.prompt for answer in sheet.answers]
    texts = [answer.text for answer in sheet.answers]
    name = model_name(reward)
    stats = resolve(name).reward_stats()
    scores = batch.score(reward, prompts, texts, **settings)
    scale = {"std": stats.std, "sharpness": stats.sharpness}
    appraisal = appraise(sheet, scores, **scale, gold=gold_scores(prompts, texts))
    report = RewardReport(appraisal, name=short_names([reward])[0], trained_on=stats.training_pairs)
    if RunFolder(name).exists:
        keep_evaluation(RunFolder(name), sheet.digest, report.saved())
        _onto_card(RunFolder(name).final, report)
    return report


_ON_CARD = ("pairs", "accuracy", "low", "high", "longer_wins", "ceiling", "ece", "brier")


def _onto_card(final: Path, report: "RewardReport") -> None:
    """Write an evaluation into the model's card, in place of the one before."""
    from workbench.models.model_card import put_section

    figures = {name.replace("_", " "): report[name] for name in _ON_CARD}
    put_section(final, "Evaluation on other pairs", figures)


@working("learning_curve")
def learning_curve(
    model: Model,
    pairs: Any,
    sizes: Sequence[int] | None = None,
    *,
    heldout: Any = None,
    name: str | None = None,
    **settings: Any,
) -> "LearningCurve":
    """What more labels are worth: reward models on nested shares of the pairs, one after another.

    Each is a run of its own, found again by the same data and settings: asked for again, the
    curve trains only what is missing, and goes on with what was stopped.

    Args:
        model: as in :func:`train_reward`.
        pairs: what :func:`load_pairs` reads.
        sizes: items of each share; None: an eighth, a quarter, a half and all.
        heldout: what to measure on; None holds out a fifth of the prompts, at most 2,000 items.
        name: the runs are called ``NAME-SIZE``; None makes names from what they work on.
        settings: see ``RewardSettings``.

    Returns:
        Accuracy by number of labels with a fitted line, and what more labels would bring.

    Raises:
        DataError: too few items have a label.
        ConfigError: the sizes do not fit the data.
    """
    RewardSettings.from_dict(settings)
    check_model(model, "model")
    for source in (pairs, heldout):
        check_source(source)
    from workbench.analysis.learning_curve import fit_line, nested, rightness_by_item
    from workbench.reports.learning_curve import LearningCurve

    loaded = as_pairs(pairs)
    if quick.is_quick():
        loaded, sizes = loaded[: quick.TRAINING_ROWS], None
    shares = nested(loaded, sizes, None if heldout is None else as_pairs(heldout))
    scoring = {key: value for key, value in settings.items() if key in _SCORING}
    runs: list[Run] = []
    reports: list[RewardReport] = []
    for share in shares.train:
        run_name = None if name is None else f"{name}-{len(share)}"
        runs.append(finished(train_reward(model, share, name=run_name, **settings)))
        reports.append(evaluate_reward(runs[-1], shares.heldout, **scoring))
    labels = [len(share) for share in shares.train]
    curve = fit_line(labels, rightness_by_item([report.frames["pairs"] for report in reports]))
    return LearningCurve(labels, reports, runs, curve)


_SCORING = ("quantization", "dtype", "device", "max_length", "micro_batch_tokens", "threads")
