"""What a person looks at and labels in: widgets and reports."""

import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from workbench.data.labelling.item_order import ORDERS
from workbench.errors import ConfigError, RunError, check_option
from workbench.progress import working
from workbench.runs import Run
from workbench.runs.folder import LIVE
from workbench.settings import PERSON, PERSON_STORE, PPOSettings
from workbench.verbs import batch
from workbench.verbs.load_data import as_pairs, check_source, load_prompts
from workbench.verbs.model_names import Model, check_model, model_name, short_names
from workbench.world.grammar import find_request

if TYPE_CHECKING:
    from workbench.data.labelling.session import LabelSession
    from workbench.data.pairs import Pairs
    from workbench.data.store.labels import LabelStore, StoreOrPath
    from workbench.reports.quality import Quality
    from workbench.widgets.browser.browser import Browser, PairScores
    from workbench.widgets.compare.blind_comparison import BlindComparisonView
    from workbench.widgets.compare.compare import CompareView
    from workbench.widgets.compare.playground import Playground
    from workbench.widgets.labeller.labeller import Labeller


@working("browse")
def browse(
    pairs: Any, store: "StoreOrPath | None" = None, scores: "PairScores | None" = None
) -> "Browser":
    """Look through pairs of any number: search, filter, sort, read two answers side by side.

    Args:
        pairs: what :func:`load_pairs` reads.
        store: labels made here (a label store, or its path), shown beside those of the data; the
            key Q sends the pair at the cursor to its queue, to be judged blind by :func:`label`.
        scores: a reward model's margin a pair, or the name of a column of ``pairs.frame``: the
            score of the better answer minus the other's, or of the first minus the second where
            no label says which is better.

    Raises:
        ConfigError: the scores are not one number a pair.
    """
    check_source(pairs)
    from workbench.widgets.browser.browser import Browser

    return Browser(as_pairs(pairs), _opened(store), scores)


def _opened(store: "StoreOrPath | None", argument: str = "store") -> "LabelStore | None":
    from workbench.data.store.labels import as_store

    return None if store is None else as_store(store, argument)


REPEATS, REPEATS_FROM = 0.05, 100  # of fewer items than that, a rate says nothing
WAITING = 0.3  # seconds between two looks at whether a run has asked


_View = TypeVar("_View", bound="Labeller")
_SESSIONS: "WeakValueDictionary[tuple[str, str], LabelSession]" = WeakValueDictionary()


@working("label")
def label(
    pairs: Any,
    store: "StoreOrPath | None" = None,
    annotator: str = "me",
    *,
    seed: int = 0,
    order: str = "file",
    keys: Mapping[str, str | Sequence[str]] | None = None,
    strength: int | Sequence[str] = 0,
    overlap: int | None = 1,
    repeats: float | None = None,
    gold: Any = None,
    reward: Model | None = None,
    explore: float = 0.1,
    ranking: bool = True,
    guidelines: str | Path | None = None,
    tags: Sequence[str] | Mapping[str, str] | None = None,
) -> "Labeller":
    """Judge pairs by keys; each label is on disk before the screen says so.

    Pairs that were sent to the store's queue (from a comparison, a playground, a sample table) and
    have no label yet come first. A run of ``train_online_dpo(policy, "person", prompts)`` asks for
    labels itself: ``label(run)`` shows what it waits for, and after that what it asks next.

    Args:
        pairs: what :func:`load_pairs` reads; labels that came with them are not shown. Or such a
            run, which has a store of its own.
        store: where the labels go: a label store, or the path of one, which is made where there is
            none. ``.store`` of what is returned is that store.
        annotator: who labels; several people may share a store.
        seed: of all that is drawn: sides, the random order, what comes back.
        order: "file", "random", or "uncertain": what ``reward`` is least sure of comes first; of
            an ensemble what its members disagree about.
        keys: other keys for some actions, such as ``{"left": "j", "right": "k"}``.
        strength: levels of "how much better" to ask for by a second key, or their names; 0: none.
        overlap: how many people may label one item; None for all who come.
        repeats: the share of items that come back swapped, to see how consistent the labels are;
            None takes 5 % of a hundred items or more, and none of fewer.
        gold: pairs with known labels, put among the others to check by.
        reward: a trained reward model, for "uncertain".
        explore: the share of places that "uncertain" fills at random.
        ranking: of more than two answers, put all in order; False only asks for the best one.
        guidelines: what to label by, shown beside the pair and kept in the store: a text, or a
            file (.md or .txt); Markdown is rendered.
        tags: reasons to give with a label, each by a key of its own: names, or ``{key: name}``.
            They are stored with the label, exported with it and counted by :func:`quality`.

    Raises:
        DataError: the store is damaged or cannot be written; the guidelines cannot be read.
        ConfigError: a key, a tag or another wish cannot be; there is no store.
        RunError: the run has ended, and waits for nothing.
    """
    asking = pairs if isinstance(pairs, Run) else None
    place = store if asking is None else _asking_store(asking, store)
    if reward is not None:
        check_model(reward, "reward", "scores")
    for source in (None if asking else pairs, gold):
        check_source(source)
    check_option(order, ORDERS, "order")
    from workbench.data.labelling.guidelines import read_guidelines
    from workbench.data.labelling.session import LabelSession
    from workbench.data.store.labels import as_store
    from workbench.widgets.labeller.labeller import Labeller, key_map
    from workbench.widgets.labeller.tag_keys import tag_keys

    reasons = tag_keys(tags, key_map(keys))
    read_guidelines(guidelines)  # what cannot be is said now, not when the data has been read
    if place is None:
        raise ConfigError(
            "labels need a store", where="label(pairs)", fix="label(pairs, 'labels.sqlite')"
        )
    labels = as_store(place, write=True)
    items = _first_asked(asking, labels) if asking else with_queue(as_pairs(pairs), labels)
    if repeats is None:
        repeats = REPEATS if len(items) >= REPEATS_FROM else 0.0
    shown = partial(
        LabelSession,
        store=labels,
        annotator=annotator,
        seed=seed,
        order=order,
        strength=strength,
        overlap=overlap,
        repeats=repeats,
        gold=None if gold is None else as_pairs(gold),
        scores=None if reward is None else lambda unlabelled: _margins(reward, unlabelled),
        model=None if reward is None else model_name(reward),
        explore=explore,
        guidelines=guidelines,
        tags=reasons.values(),
    )
    view = Labeller(shown(items), keys, ranking=ranking, tags=reasons)
    if asking is not None:

        def next_asked() -> "LabelSession | None":
            waiting = labels.queue()
            session = shown(waiting) if len(waiting) else None
            if session is None or session.current() is None:  # skipped before
                return None
            _SESSIONS[str(labels.path), annotator] = session
            return session

        view.more = next_asked
    return _with_own_session(view, labels, annotator)


def _asking_store(run: Run, given: "StoreOrPath | None") -> Path:
    """The store in which a run asks a person; it is the run's own."""
    if given is not None:
        raise ConfigError(
            "a run that asks has a store of its own",
            where=f"label({run.name}, store={given!r:.80})",
            fix="leave store out: label(run)",
        )
    if run.config["inputs"].get("reward") != PERSON:
        raise ConfigError(
            "this run asks nobody for labels",
            where=f"label({run.name})",
            fix="label(pairs, store); one that asks is train_online_dpo(policy, 'person', prompts)",
        )
    return run.path / PERSON_STORE


def _first_asked(run: Run, store: "LabelStore") -> "Pairs":
    """What a run waits for; until it has asked, this waits for it."""
    while not len(waiting := store.queue()):
        if run.status not in LIVE:
            raise RunError(
                f"{run.name} is {run.status}, and waits for no labels",
                where=str(run.path),
                fix="run.resume() if it should go on, and label(run) again",
            )
        time.sleep(WAITING)
    return waiting


def _with_own_session(view: _View, store: "LabelStore", annotator: str) -> _View:
    """Close the session that this annotator had open on the store: a cell may be run again."""
    before = _SESSIONS.pop((str(store.path), annotator), None)
    if before is not None:
        before.close()
    _SESSIONS[str(store.path), annotator] = view.session
    return view


def with_queue(pairs: "Pairs", store: "LabelStore") -> "Pairs":
    """What waits in a store's queue, then the pairs; an item that is in both comes once."""
    from workbench.data.pairs import Pairs

    queued = store.queue()
    if not len(queued):
        return pairs
    import pandas as pd

    rest: Any = pairs.frame[~pairs.frame["id"].isin(queued.ids())]
    return Pairs(pd.concat([queued.frame, rest], ignore_index=True))


def _margins(reward: Model, pairs: "Pairs") -> list[float]:
    """How sure a reward model is of each item; the nearest to 0 is the least sure.

    Of one model: how much better it finds the item's best response than its second best. Of an
    ensemble: that margin's mean over the members by its deviation, so that an item comes first
    where the members do not agree which of the two is better.
    """
    items = list(pairs)
    answers = [(item.prompt, response) for item in items for response in item.responses]
    prompts = [[*prompt, *response[:-1]] for prompt, response in answers]
    texts = [response[-1]["content"] for _, response in answers]
    by_member = batch.member_scores(reward, prompts, texts)
    margins: list[float] = []
    at = 0
    for item in items:
        of_item = [scores[at : at + len(item.responses)] for scores in by_member]
        margins.append(sureness(of_item))
        at += len(item.responses)
    return margins


def sureness(scores: Sequence[Sequence[float]]) -> float:
    """Of one item, from each member's scores of its responses; NaN where one has none."""
    means = [fmean(own) for own in zip(*scores, strict=True)]
    if any(map(math.isnan, means)):
        return math.nan
    best, second = sorted(range(len(means)), key=lambda i: -means[i])[:2]
    margins = [own[best] - own[second] for own in scores]
    margin = fmean(margins)
    return margin if len(margins) == 1 else margin / (batch.deviation(margins) + 1e-6)


@working("compare")
def compare(
    *models: Model,
    prompts: Any,
    store: "StoreOrPath | None" = None,
    annotator: str = "me",
    reward: Model | None = None,
    best_of: int = 1,
    gold: bool = True,
    queue: "StoreOrPath | None" = None,
    seed: int = 0,
    keys: Mapping[str, str | Sequence[str]] | None = None,
    **settings: Any,
) -> "CompareView | BlindComparisonView":
    """Answers of several models to the same prompts, side by side; with a store, judged blind.

    With a store nothing on screen says who wrote what until you ask for it (the key V). The keys
    are the labeller's, verdicts are label events in the store, and the same call goes on where you
    stopped. Then ``.result()`` has win rates with intervals and sign tests, yours beside those of
    the reward model and the gold judge, and ``.disagreements()`` what they see otherwise.

    Args:
        models: names, folders or runs; the first is the one the others are compared with.
        prompts: what :func:`load_prompts` reads.
        store: where blind verdicts go, a label store or its path; None shows the answers with
            their names at once.
        annotator: who judges.
        reward: a reward model that scores the answers.
        best_of: above 1, a second column: of so many answers of the first model the one that the
            reward model scores highest.
        gold: score them with the sample world's judge too, where all prompts are from there.
        queue: the store to whose queue a key sends the row that is open, to be judged later; a
            blind comparison sends to its own, once it is revealed.
        seed: of the answers and of the sides.
        keys: other keys, as in :func:`label`.
        settings: as in :func:`answers`.
    """
    batch.check_comparison(models, reward, best_of, settings)
    check_source(prompts)
    from workbench.analysis.blind_comparison import BlindComparison
    from workbench.widgets.compare.blind_comparison import BlindComparisonView
    from workbench.widgets.compare.compare import CompareView
    from workbench.widgets.labeller.labeller import key_map

    key_map(keys)
    store, queue = _opened(store), _opened(queue, "queue")
    if store is not None:
        store.check_writable()
    messages = load_prompts(prompts)
    known = gold and all(find_request(prompt[-1]["content"]) is not None for prompt in messages)
    rows = batch.before_and_after(
        models, messages, reward=reward, best_of=best_of, gold=known, seed=seed, **settings
    )
    if store is None:
        return CompareView(rows, queue=queue, annotator=annotator)
    contest = BlindComparison(rows, batch.column_names(models, best_of))
    view = BlindComparisonView(contest, store, annotator=annotator, seed=seed, keys=keys)
    return _with_own_session(view, store, annotator)


@working("playground")
def playground(
    *models: Model,
    reward: Model | None = None,
    store: "StoreOrPath | None" = None,
    annotator: str = "me",
    **settings: Any,
) -> "Playground":
    """Ask several models one thing at a time, and see each answer grow, with its score and KL.

    The models stay loaded in one worker process, which ends when a run starts, after five idle
    minutes, or by :func:`release`. With a store, "prefer this one" is a label in it, and a key
    sends the answers to the labeller; another shows which tokens a reward score comes from.

    Args:
        models: names, folders or runs.
        reward: a reward model that scores the answers; it also chooses the best of several.
        store: where preferences go, a label store or its path.
        annotator: whose they are.
        settings: response_length, seed, quantization, device as in ``PPOSettings``.

    Raises:
        ConfigError: no model, or more than fit side by side.
        ModelError: one of them is no model that answers.
    """
    checked = PPOSettings.from_dict(settings)
    for model in models:
        check_model(model, "model", "answers")
    if reward is not None:
        check_model(reward, "reward", "scores")
    from workbench.runs import worker
    from workbench.widgets.compare.playground import Playground

    names = [model_name(model) for model in models]
    shared = worker.shared()
    return Playground(
        dict(zip(short_names(models), names, strict=True)),
        lambda request, on_event: shared.ask("play", request, on_event),
        explain=lambda request, on_event: shared.ask("explain", request, on_event),
        stop=shared.stop,
        reward=None if reward is None else model_name(reward),
        store=_opened(store),
        annotator=annotator,
        settings=checked.to_dict(),
    )


def release() -> None:
    """End the worker behind the playground and free what it holds; a run that starts does too."""
    from workbench.runs import worker

    worker.release()


@working("quality")
def quality(pairs: Any, against: Any = None, store: "StoreOrPath | None" = None) -> "Quality":
    """Look preference data over: repeats, leaks, empty answers, length bias, agreement and more.

    Args:
        pairs: the data, or what :func:`load_pairs` reads; of a label store, its labelled items.
        against: another set, whose prompts this one should not have: ``quality(train, test)``.
        store: the label store that the labels are from, for what depends on who labelled.

    Returns:
        A report: ``summary`` and ``frames`` are tables, ``figures`` Plotly figures.

    Raises:
        DataError: there is no item.
    """
    for source in (pairs, against):
        check_source(source)
    from workbench.analysis.quality import examine
    from workbench.data.store.labels import LabelStore, as_store
    from workbench.reports.quality import Quality

    source = None if store is None else as_store(store, new=False)
    if isinstance(pairs, str | Path) and Path(pairs).suffix in (".sqlite", ".db"):
        pairs = as_store(pairs, "pairs", new=False)
    if isinstance(pairs, LabelStore):
        source, pairs = source or pairs, pairs.pairs(ties="keep")
    other = None if against is None else as_pairs(against)
    return Quality(examine(as_pairs(pairs), other, source))
