"""Rounds: the policy's own answers are labelled, and reward model and policy learn on from there.

A round is a folder among the runs: ``round.json`` says what it stands on and links what it made,
``pairs.jsonl`` holds what was drawn to be labelled, and its two runs lie beside them.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ConfigError, DataError, RunError
from workbench.json_lines import read_json, write_json
from workbench.progress import working
from workbench.reports.round_summary import as_html
from workbench.runs import Run, RunFolder, runs_root
from workbench.runs.catalogue import paid_by
from workbench.runs.identity import move_aside
from workbench.verbs.draw_pairs import RoundStart, draw_round
from workbench.verbs.model_names import model_name
from workbench.verbs.train import finished, open_run, train_ppo, train_reward

if TYPE_CHECKING:
    from workbench.data.messages import Message
    from workbench.data.pairs import Pair, Pairs
    from workbench.data.store.labels import LabelStore, StoreOrPath
    from workbench.widgets.labeller.labeller import Labeller

ROUND, PAIRS = "round.json", "pairs.jsonl"
_AFTER_DPO = (
    "a round's reward model learns on, and PPO from it: give a run of wb.train_ppo. Of this one, "
    "wb.label(wb.sample_pairs(run, prompts), store) collects labels, and "
    "wb.train_dpo(run, store.pairs(), reference=...) learns from them"
)
_POLICY_FIGURES = {  # of the policy's run: what they are called, means over the last ten updates
    "objective/gold": "gold",
    "objective/scores": "score",
    "objective/kl": "kl",
}


@working("next_round")
def next_round(
    run: Run | str,
    store: "StoreOrPath",
    *,
    pairs: int = 64,
    explore: float = 0.25,
    seed: int = 0,
    name: str | None = None,
    fresh: bool = False,
) -> "Round":
    """Draw new pairs from a policy, to be labelled; then reward model and policy learn on.

    Four times as many pairs of answers are sampled as are kept: those about which the reward model
    is least sure (the smallest gap of its two scores), and a share at random, so that what it is
    wrongly sure of is seen too. The same call finds the round that was drawn before.

    Args:
        run: a finished PPO run, or its name; an unfinished one is waited for.
        store: where the labels go, a label store or its path.
        pairs: how many to draw.
        explore: the share that is drawn at random, 0 to 1.
        seed: of the prompts, the answers and the random share.
        name: the round's folder; None makes ``RUN-round-N``.
        fresh: draw anew; the round of this name is kept aside.

    Returns:
        A round: ``.pairs`` to look at, ``.label()`` to judge them, ``.train()`` to learn on.

    Raises:
        RunError: the run is no PPO run, its reward is not one reward model, or that one's run is
            gone.
        ConfigError: no pair or no share asked for; or a round of this name stands on other things.
        DataError: the policy gives two different answers to none of its prompts.
    """
    if pairs < 1 or not 0.0 <= explore <= 1.0:
        raise ConfigError(
            f"a round of {pairs} pairs with a random share of {explore:g} cannot be drawn",
            where="next_round(pairs=..., explore=...)",
            fix="draw one pair or more, and give a share from 0 to 1",
        )
    from workbench.data.store.labels import as_store

    store = as_store(store, write=True)
    start = round_start(run if isinstance(run, Run) else open_run(run))
    folder = runs_root() / (name or f"{_stem(start.policy)}-round-{start.number}")
    record = {
        "round": start.number,
        "policy": str(start.policy.path),
        "reward": str(start.reward.path),
        "reference": start.reference,
        "store": str(store.path.absolute()),
        "asked": {"pairs": pairs, "explore": explore, "seed": seed},
    }
    earlier = read_json(folder / ROUND)
    if earlier is not None and not fresh:
        _check_same(folder, earlier, record)
        return Round(folder, store)
    from workbench.data.pairs import Pairs

    drawn = draw_round(start, pairs=pairs, explore=explore, seed=seed)
    if folder.exists():
        move_aside(folder)
    folder.mkdir(parents=True)
    Pairs.from_items(drawn).save(folder / PAIRS)
    write_json(folder / ROUND, record)
    return Round(folder, store)


def round_start(run: Run) -> RoundStart:
    """What the next round after a policy's run stands on.

    Raises:
        RunError: it is no PPO run, its reward is not one reward model, or that one's run is gone.
    """
    if run.kind != "ppo":
        raise RunError(
            f"a round goes on from a policy, and {run.name} is a run of {run.kind}",
            where=str(run.path),
            fix=_AFTER_DPO
            if run.kind in ("dpo", "online_dpo")
            else "give a run of wb.train_ppo, or the one that round.train() returned",
        )
    inputs = run.config["inputs"]
    if not isinstance(inputs["reward"], str):
        raise RunError(
            f"{run.name} was paid by no reward model alone ({paid_by(inputs['reward'])}), and a"
            " round goes on with one, which learns from its labels",
            where=str(run.path),
            fix="train a policy against one run of wb.train_reward, and give that policy's run;"
            " wb.label(wb.sample_pairs(run, prompts), store) collects labels for such a model",
        )
    reward = RunFolder(inputs["reward"])
    if not reward.exists:
        raise RunError(
            "the reward model of this run is no run of the workbench, or is gone",
            where=str(inputs["reward"]),
            fix="train the policy against a run of wb.train_reward: a round needs its labels",
        )
    model_name(run)  # an unfinished one is waited for
    before = read_json(run.path.parent / ROUND)
    number = 2 if before is None else int(before["round"]) + 1
    reference = str(inputs.get("reference") or run.config["model"])
    return RoundStart(run, Run(reward), reference, number)


class Round:
    """One turn of the loop: pairs from the policy, their labels, and what is learned from them.

    ``pairs`` are what was drawn; ``path`` is the round's folder, in which its runs lie.
    """

    def __init__(self, path: Path, store: "LabelStore") -> None:
        from workbench.data.reading.formats import load_pairs

        self.path, self.store = path, store
        self.record = dict(read_json(path / ROUND) or {})
        self.pairs: Pairs = load_pairs(path / PAIRS)

    @property
    def number(self) -> int:
        """Which round it is; what was trained before the first one drawn was round 1."""
        return int(self.record["round"])

    @property
    def reward(self) -> Run | None:
        """The reward model of this round; None before :meth:`train`."""
        return self._run("reward")

    @property
    def policy(self) -> Run | None:
        """The policy of this round; None before :meth:`train`."""
        return self._run("ppo")

    def label(self, annotator: str = "me", **wishes: Any) -> "Labeller":
        """Judge the round's pairs by keys, blind; then those that were sent to the labeller.

        Args:
            annotator: who labels.
            wishes: as in ``wb.label``: strength, overlap, keys and the rest.
        """
        from workbench.verbs.views import label

        return label(self.pairs, self.store, annotator, **wishes)

    def train(self, reward: Mapping[str, Any] | None = None, **settings: Any) -> Run:
        """Learn on: the reward model on old and new labels, then the policy against it.

        Both go on from where the round before left them, with its settings where no others are
        given. KL is charged and measured against what the first round started from. Called again,
        it finds its runs.

        Args:
            reward: settings of the reward model that differ.
            settings: settings of PPO that differ.

        Returns:
            The policy's run, live; the reward model has finished.

        Raises:
            DataError: none of the round's pairs has a label with a winner.
        """
        rows = self.rows()
        before, policy = self.before("reward"), self.before("policy")
        learned = finished(
            train_reward(
                before,
                rows,
                name=str(self._place("reward")),
                **{**self._settings(before), **(reward or {})},
            )
        )
        inputs = policy.config["inputs"]
        policy_run = train_ppo(
            policy,
            learned,
            [row["prompt"] for row in policy.folder.data_rows()],
            name=str(self._place("ppo")),
            judge=str(inputs.get("judge", "none")),
            heldout_reward=inputs.get("heldout_reward"),
            reference=str(self.record["reference"]),
            **{**self._settings(policy), **settings},
        )
        write_json(self.path / ROUND, {**self.record, "runs": self._links()})
        return policy_run

    def rows(self) -> list[dict[str, Any]]:
        """What the reward model learns from: the earlier labels, and all that the store says.

        Of a pair that is in both, the store's word counts.

        Raises:
            DataError: none of the round's pairs has a label with a winner.
        """
        labelled = self.store.pairs()
        if not set(labelled.ids()) & set(self.pairs.ids()):
            raise DataError(
                "no pair of this round has a label with a winner yet",
                where=f"round {self.number}, {len(self.pairs)} pairs, {self.store.path}",
                fix="judge some with round.label(), then train",
            )
        new = labelled.training_rows()
        known = {_of_what(row) for row in new}
        old = [
            row for row in self.before("reward").folder.data_rows() if _of_what(row) not in known
        ]
        return [*new, *old]

    def figures(self) -> dict[str, Any]:
        """What the round has come to, from its folders; what is not there yet is left out.

        ``pairs`` drawn, ``labelled`` of them, ``old_agrees`` (the share of these labels that the
        reward model before had right), ``rows`` that the reward model learned from,
        ``heldout_accuracy``; of the policy's run, and of the one before as ``…_before``, means
        over the last ten updates: ``gold``, ``score`` (of its own reward model), ``kl`` [nats].
        """
        figures: dict[str, Any] = {"round": self.number, "pairs": len(self.pairs), **self._labels()}
        if self.reward is not None:
            figures["rows"] = int(self.reward.config["data"]["rows"])
            accuracy = last_mean(self.reward.folder.metrics(), "heldout/accuracy", 1)
            figures |= {} if accuracy is None else {"heldout_accuracy": accuracy}
        for suffix, run in (("_before", self.before("policy")), ("", self.policy)):
            rows = [] if run is None else run.folder.metrics()
            for key, word in _POLICY_FIGURES.items():
                value = last_mean(rows, key, 10)
                figures |= {} if value is None else {f"{word}{suffix}": value}
        if self.policy is not None and self.policy.status == "finished":
            kept = {**self.record, "runs": self._links(), "figures": figures}
            write_json(self.path / ROUND, kept)
        return figures

    def __repr__(self) -> str:
        labelled = self._labels()["labelled"]
        state = "not trained yet" if self.policy is None else f"policy {self.policy.status}"
        return f"Round {self.number}: {len(self.pairs)} pairs, {labelled} labelled, {state}"

    def _repr_html_(self) -> str:
        return as_html(f"{self.path.name}: {self!r}", self.figures())

    def _labels(self) -> dict[str, Any]:
        """How many pairs are labelled, and how many of those the old reward model had right."""
        from workbench.data.store.label_values import winner_of

        right, counted = 0.0, 0
        labelled = {pair.id: pair for pair in self.store.pairs()}
        for pair in self.pairs:
            judged = labelled.get(pair.id)
            best = None if judged is None or judged.label is None else winner_of(judged.label)
            if judged is None or best is None:
                continue
            counted += 1
            gap = _gap(pair, judged.responses[best])
            right += 0.5 if gap == 0 else float(gap > 0)
        return {"labelled": counted, **({"old_agrees": right / counted} if counted else {})}

    def _run(self, name: str) -> Run | None:
        folder = RunFolder(self._place(name))
        return open_run(folder.path) if folder.exists else None

    def _place(self, kind: str) -> Path:
        return self.path / f"{kind}-{self.number}"

    def before(self, role: str) -> Run:
        """The run that the round stands on: its ``policy`` or its ``reward``."""
        return Run(RunFolder(str(self.record[role])))

    def _settings(self, run: Run) -> dict[str, Any]:
        """A run's settings for the next round: other draws, all else the same."""
        settings = dict(run.config["settings"])
        return {**settings, "seed": int(settings["seed"]) + 1}

    def _links(self) -> dict[str, str]:
        runs = {"reward": self.reward, "policy": self.policy}
        return {role: str(run.path) for role, run in runs.items() if run is not None}


def _gap(pair: "Pair", won: "list[Message]") -> float:
    """By how much the reward model that chose a pair preferred the winner; 0 where unknown."""
    scores: list[Any] = pair.meta.get("scores") or [None, None]
    if None in scores or won not in pair.responses:
        return 0.0
    place = pair.responses.index(won)
    return scores[place] - scores[1 - place]


def _of_what(row: Mapping[str, Any]) -> str:
    """What a comparison is about, whichever answer won."""
    answers = sorted((repr(row["chosen"]), repr(row["rejected"])))
    return "\x1f".join([repr(row["prompt"]), *answers])


def last_mean(rows: Sequence[Mapping[str, Any]], key: str, count: int) -> float | None:
    """The mean of a metric's last ``count`` values; None where there is none."""
    values = [row[key] for row in rows if row.get(key) is not None][-count:]
    return sum(values) / len(values) if values else None


def _stem(run: Run) -> str:
    """A round's runs are named by what they are: the round's folder has the name."""
    own = (run.path.parent / ROUND).is_file()
    return re.sub(r"-round-\d+$", "", run.path.parent.name if own else run.name)


def _check_same(folder: Path, earlier: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    differs = [
        f"{key}: {earlier.get(key)} -> {record[key]}"
        for key in record
        if earlier.get(key) != record[key]
    ]
    if differs:
        raise ConfigError(
            f"there is a round called {folder.name}, and it differs: {'; '.join(differs)}",
            where=str(folder),
            fix="fresh=True draws anew (the old one is kept aside), or give another name",
        )
