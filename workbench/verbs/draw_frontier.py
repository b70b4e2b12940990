"""Every way of aligning on one picture: the runs behind it, one after another, and their cost.

A frontier is a folder among the runs: its runs lie in it, ``frontier.json`` holds what was
measured on them (``frontier_worth.py``), ``report.html`` the page. Asked for again, only what is
missing is done.
"""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from workbench import quick
from workbench.errors import ConfigError, check_option
from workbench.progress import Work, duration, tell, working
from workbench.runs import Run, runs_root
from workbench.settings import KINDS, PPOSettings, RewardSettings, RunSettings
from workbench.verbs.frontier_worth import WATCHED, FrontierWorth, learning_seconds
from workbench.verbs.load_data import as_pairs, check_source, load_prompts, no_label
from workbench.verbs.model_names import Model, check_model, model_name, short_names
from workbench.verbs.train import check_ppo, train_dpo, train_online_dpo, train_ppo, train_reward

if TYPE_CHECKING:
    from workbench.analysis.frontier import Tried
    from workbench.data.messages import Message
    from workbench.data.pairs import Pairs
    from workbench.reports.frontier import Frontier

BEST_OF_N = "best_of_n"
EQUAL_IN = ("prompts", "seconds")
HELD = 128
"""Prompts kept aside to measure on."""
LOOKS, PROBE = 6, 4
"""How often a run is watched; steps of the short run that says what a step takes."""


class Way(NamedTuple):
    """A way of aligning.

    Attributes:
        kind: of its runs.
        price: the setting that is β.
        settings: what makes it this way.
        each: prompts that one unit of its batch counts for.
    """

    kind: str
    price: str
    settings: dict[str, Any]
    each: int = 1


_GROUPS = {"samples_per_prompt": 4}
WAYS = {
    "ppo": Way("ppo", "kl_coef", {}),
    "rloo": Way("ppo", "kl_coef", {"advantage": "rloo", **_GROUPS}),
    "group": Way("ppo", "kl_coef", {"advantage": "group", **_GROUPS}),
    "online_dpo": Way("online_dpo", "beta", {}, each=2),
    "dpo": Way("dpo", "beta", {"batch_size": 32, "holdout": 0.0}),
}
"""By the names of ``methods``; beside them there is :data:`BEST_OF_N`, which learns nothing."""


def frontier(
    model: Model,
    pairs: Any,
    prompts: Any,
    methods: Sequence[str] | Mapping[str, Mapping[str, Any]] = (*WAYS, BEST_OF_N),
    *,
    seeds: int = 4,
    prices: Sequence[float] = (0.05, 0.2),
    budget: float = 2048,
    equal: str = "prompts",
    rates: Sequence[float] = (1.0,),
    reward: Model | None = None,
    heldout_reward: Model | None = None,
    heldout: Any = None,
    name: str = "frontier",
    **settings: Any,
) -> "Frontier":
    """Put every way of aligning beside the others: what each buys for how many nats and seconds.

    Each method is run at each price by each seed, one run after another, and all are measured on
    the same held-out prompts. What it will take is measured on short runs and told before it
    starts; interrupted and asked for again it goes on, and what is there is not done twice.

    Args:
        model: what all start from; frozen, it is the reference.
        pairs: what :func:`load_pairs` reads; without reward models of your own, half of the prompts
            teach the reward model and DPO, the other half the model that watches.
        prompts: what :func:`load_prompts` reads.
        methods: of ``ppo`` (a value model), ``rloo``, ``group``, ``online_dpo``, ``dpo`` and
            ``best_of_n``; or settings by method, ``{"ppo": {"learning_rate": 1e-3}, "dpo": {}}``.
        seeds: how many, from 0.
        prices: β: what a nat costs PPO, and DPO's beta.
        budget: of each run, in what ``equal`` says.
        equal: ``prompts``: each time that the policy answers one counts, and each comparison of
            DPO's; ``seconds``: of learning by the clock, by what short runs took.
        rates: trials of each method's learning rate, as multiples of its own; at the first seed
            the one is taken whose watched score less the price of its nats is the highest.
        reward: what pays and is learned from these pairs, a run of :func:`train_reward`; None
            trains one.
        heldout_reward: what only watches; None trains one on the other half of the pairs.
        heldout: prompts to measure on; None keeps an eighth of ``prompts`` aside, 128 at most.
        name: of the folder among the runs.
        settings: of every run: those that all kinds of policy runs have, such as
            ``response_length``, ``lora_rank``, ``quantization`` and ``device``.

    Returns:
        A page of its own: ``sentence``, ``limits``, ``frame`` (a row a run), ``at`` (a row a
        method: its worth at 1, 2 and 3 nats and at equal seconds), ``figures``.

    Raises:
        ConfigError: there is no such method or setting; no seed, price or budget; or a run of
            this name has other settings.
        DataError: no pair has a label, or there are too few prompts.
        RunError: a run failed; the next call goes on from there.
    """
    own_settings = {m: dict(methods[m]) if isinstance(methods, Mapping) else {} for m in methods}
    for method in own_settings:
        check_option(method, (*WAYS, BEST_OF_N), "methods")
    check_option(equal, EQUAL_IN, "equal")
    _check_numbers(own_settings, seeds, prices, budget, rates, settings)
    for method, own in own_settings.items():
        _settings(method, {**settings, **own})
    check_model(model, "model", "answers")
    for argument, scorer in (("reward", reward), ("heldout_reward", heldout_reward)):
        if scorer is not None:
            check_model(scorer, argument, "scores")
    for source in (pairs, prompts, heldout):
        check_source(source)
    if quick.is_quick():
        own_settings = dict(quick.few([*own_settings.items()], 2))
        seeds, prices, rates = 1, prices[:1], rates[:1]
    with working("frontier") as work:
        drawing = _Drawing(model, name, own_settings, settings, work)
        drawing.prepare(pairs, prompts, heldout, reward, heldout_reward)
        return drawing.draw(range(seeds), tuple(prices), rates, budget, equal)


def _check_numbers(
    methods: Mapping[str, Any],
    seeds: int,
    prices: Sequence[float],
    budget: float,
    rates: Sequence[float],
    settings: Mapping[str, Any],
) -> None:
    fits = (
        seeds >= 1 and budget > 0 and len(prices) > 0 and len(rates) > 0 and methods.keys() & WAYS
    )
    if not fits or min(*prices, *rates, 1.0) <= 0:
        raise ConfigError(
            "a frontier needs a method that learns, a seed, a price, a rate and a budget above 0",
            where=f"methods={list(methods)}, seeds={seeds}, prices={list(prices)},"
            f" rates={list(rates)}, budget={budget:g}",
            fix="leave them at their defaults, or give for instance seeds=2, prices=[0.1]",
        )
    instead = {"seed": "seeds=", "steps": "budget=", "kl_coef": "prices=", "beta": "prices="}
    for name in instead.keys() & settings.keys():
        raise ConfigError(
            f"{name} is not one for all runs of a frontier",
            where=f"frontier({name}={settings[name]!r})",
            fix=f"say it by {instead[name]}",
        )


def _settings(method: str, values: Mapping[str, Any]) -> RunSettings | None:
    """A method's settings, checked; None for best of n, which only samples."""
    if method == BEST_OF_N:
        PPOSettings.from_dict(values)
        return None
    way = WAYS[method]
    checked = KINDS[way.kind].from_dict({**way.settings, **values})
    if isinstance(checked, PPOSettings):
        check_ppo(checked, heldout=False)
    return checked


def _worth(run: "Tried") -> float:
    """What a run is after, by the model that watches: its score less the price of its nats."""
    return run.reached.heldout - run.price * run.reached.kl


class _Job(NamedTuple):
    """One run to be done: of a method, at a price, at a multiple of its rate, by a seed."""

    method: str
    price: float
    rate: float
    seed: int
    steps: int

    @property
    def name(self) -> str:
        rate = "" if self.rate == 1.0 else f"-x{self.rate:g}"
        return f"{self.method}-{self.price:g}{rate}-{self.seed}"


class _Speed(NamedTuple):
    """What a method's short run took: seconds of learning a step, of all else, and its rate."""

    step: float
    beside: float
    rate: float


class _Drawing:
    """One frontier while it is drawn."""

    def __init__(
        self,
        model: Model,
        name: str,
        methods: dict[str, dict[str, Any]],
        settings: dict[str, Any],
        work: Work,
    ) -> None:
        self.model, self.methods, self.work = model, methods, work
        self.folder = Path(name).absolute() if "/" in name else runs_root() / name
        self.settings = settings
        self.done, self.total = 0.0, 0.0  # seconds of the plan
        self.speeds: dict[str, _Speed] = {}

    # --- what the runs need --------------------------------------------------------------------

    def prepare(
        self,
        pairs: Any,
        prompts: Any,
        heldout: Any,
        reward: Model | None,
        heldout_reward: Model | None,
    ) -> None:
        """Keep prompts aside; train the two reward models where none are given."""
        messages: list[list[Message]] = list(load_prompts(prompts))
        aside = list(load_prompts(heldout)) if heldout is not None else None
        if aside is None:
            every = max(8, -(-len(messages) // HELD))
            aside = messages[::every]
            messages = [prompt for place, prompt in enumerate(messages) if place % every]
        self.prompts, self.aside = messages, quick.few(aside[:HELD], quick.PROMPTS)
        loaded = as_pairs(pairs)
        parts = {"learn": loaded, "watch": loaded}
        if reward is None or heldout_reward is None:
            from workbench.data.splits import split_pairs

            parts = split_pairs(loaded, {"learn": 0.5, "watch": 0.5})
        self.rows = parts["learn"].training_rows()
        if not self.rows:
            raise no_label(loaded)
        self.pairs = f"{len(self.rows):,} comparisons taught both the reward model and DPO"
        self.rewards = {
            "score": model_name(reward or self._reward("reward", parts["learn"])),
            "heldout": model_name(heldout_reward or self._reward("watching", parts["watch"])),
        }
        self.worth = FrontierWorth(
            self.folder, self.model, self.aside, self.rewards, self.settings, self._say
        )

    def _reward(self, name: str, pairs: "Pairs") -> Run:
        every_kind = {field.name for field in fields(RunSettings)}
        shared = {name: value for name, value in self.settings.items() if name in every_kind}
        RewardSettings.from_dict(shared)
        run = train_reward(self.model, pairs, name=str(self.folder / name), **shared)
        return self._followed(run, f"the {name} model", 0.0)

    # --- the runs ------------------------------------------------------------------------------

    def draw(
        self,
        seeds: range,
        prices: tuple[float, ...],
        rates: Sequence[float],
        budget: float,
        equal: str,
    ) -> "Frontier":
        """Do what is missing, measure it, and put it on a page."""
        from workbench.reports.frontier import Frontier, FrontierTerms
        from workbench.reports.run_page import write_report

        ways = [method for method in self.methods if method in WAYS]
        if not quick.is_quick():
            self.speeds = {method: self._probed(method, prices[0]) for method in ways}
        steps = {method: self._steps(method, budget, equal) for method in ways}
        middle = prices[len(prices) // 2]
        trials = [
            _Job(method, middle, rate, seeds[0], steps[method])
            for method in ways
            for rate in rates
            if len(rates) > 1
        ]
        rest = len(seeds) * len(prices) - (len(rates) > 1)
        self._tell_cost(ways, steps, trials, rest, len(seeds))
        tried = self._results(trials)
        best = dict.fromkeys(ways, rates[0])
        for job in trials:
            rival = _Job(job.method, middle, best[job.method], seeds[0], job.steps)
            if _worth(tried[job]) > _worth(tried[rival]):
                best[job.method] = job.rate
        runs: dict[_Job, Tried] = {}
        for seed in seeds:  # a whole picture of one seed first
            jobs = [
                _Job(method, price, best[method], seed, steps[method])
                for method in ways
                for price in prices
            ]
            runs |= self._results(jobs)
        starts = {seed: self.worth.start(seed) for seed in seeds}
        words = f"{budget:,.0f} {'prompts' if equal == 'prompts' else 'seconds'}"
        terms = FrontierTerms(
            short_names([self.model])[0], words, self.pairs, len(self.aside), len(rates)
        )
        chosen = self.methods.get(BEST_OF_N)
        bound = [] if chosen is None else self.worth.best_of_n(chosen)
        page = Frontier([*runs.values()], starts, bound, terms)
        write_report(self.folder / "report.html", title=self.folder.name, more=page._repr_html_())
        return page

    def _tell_cost(
        self,
        ways: Sequence[str],
        steps: Mapping[str, int],
        trials: Sequence[_Job],
        rest: int,
        seeds: int,
    ) -> None:
        """Say what it will take before the first long run, by what the short ones took."""
        if not self.speeds:
            return
        each = {m: s.beside + s.step * steps[m] for m, s in self.speeds.items()}
        counts = {m: rest + sum(job.method == m for job in trials) for m in ways}
        parts = [f"{m} {counts[m]} × {duration(each[m])}" for m in ways]
        beside = max(speed.beside for speed in self.speeds.values())
        looking = beside * 2 * (seeds + (BEST_OF_N in self.methods))
        self.total = sum(each[m] * counts[m] for m in ways) + looking
        tell(
            f"frontier: about {duration(self.total)} where nothing is done yet ({', '.join(parts)},"
            f" measuring {duration(looking)}), one run after another; interrupt it when you like,"
            " the same call goes on"
        )

    def _steps(self, method: str, budget: float, equal: str) -> int:
        way = WAYS[method]
        if equal == "seconds":
            return max(1, round(budget / self.speeds[method].step)) if self.speeds else PROBE
        checked = cast("Any", _settings(method, {**self.settings, **self.methods[method]}))
        return max(1, round(budget / (checked.batch_size * way.each)))

    def _probed(self, method: str, price: float) -> _Speed:
        """What a step takes, by a run of a few."""
        job = _Job(method, price, 1.0, 0, PROBE)
        run = self._started(job, f"probe-{method}")
        self._followed(run, f"how long a step of {method} takes", 0.0)
        metrics, config = run.folder.metrics(), run.config
        took = [learning_seconds(row) for row in metrics[1:]]
        begun = datetime.fromisoformat(str(config["created"])).timestamp()
        whole = float(run.folder.written_status()["heartbeat"]) - begun
        beside = max(0.0, whole - sum(map(learning_seconds, metrics)))  # looking on, too
        return _Speed(sum(took) / len(took), beside, float(config["resolved"]["learning_rate"]))

    def _started(self, job: _Job, name: str) -> Run:
        """Find the run that does this, or start it."""
        way, own = WAYS[job.method], self.methods[job.method]
        watched: list[Any] = [*self.aside[:WATCHED]]
        settings = {
            **way.settings,
            "watch_prompts": watched,
            "watch_every": max(1, job.steps // LOOKS),
            **self.settings,
            **own,
            way.price: job.price,
            "steps": job.steps,
            "seed": job.seed,
        }
        if job.rate != 1.0:
            settings["learning_rate"] = job.rate * self.speeds[job.method].rate
        place, reward = str(self.folder / name), self.rewards["score"]
        if way.kind == "ppo":
            return train_ppo(self.model, reward, self.prompts, name=place, **settings)
        if way.kind == "online_dpo":
            return train_online_dpo(self.model, reward, self.prompts, name=place, **settings)
        need = job.steps * int(settings["batch_size"])
        rows = self.rows
        if need < len(rows):  # encoding all of them would take longer than learning
            rows = random.Random(job.seed).sample(rows, need)
        return train_dpo(self.model, rows, reward=reward, name=place, **settings)

    def _followed(self, run: Run, words: str, seconds: float) -> Run:
        """Wait for a run on the one line; one that was left unfinished goes on."""
        if run.status in ("stopped", "failed", "paused"):
            run.resume()
        while (status := run.folder.status())["state"] not in ("finished", "stopped", "failed"):
            share = int(status["step"]) / (status["total_steps"] or 1)
            total = f"{status['step']} of {status['total_steps'] or '?'} steps"
            self._say(f"{words}, {total}", seconds * share)
            time.sleep(0.2)
        self.done += seconds
        return run.wait(progress=False)

    def _say(self, words: str, more: float = 0.0) -> None:
        left = max(0.0, self.total - self.done - more)
        self.work.tell(0.0, None, f"{words}, about {duration(left)} left in all" if left else words)

    # --- what they came to ---------------------------------------------------------------------

    def _results(self, jobs: Sequence[_Job]) -> "dict[_Job, Tried]":
        """Do and measure runs; what was measured before is kept."""
        from workbench.analysis.frontier import Tried

        runs: dict[_Job, Run] = {}
        for job in jobs:
            speed = self.speeds.get(job.method)
            seconds = speed.beside + speed.step * job.steps if speed else 0.0
            words = f"{job.method}, β {job.price:g}, seed {job.seed}"
            runs[job] = self._followed(self._started(job, job.name), words, seconds)
        by_seed: dict[int, list[Run]] = {}
        for job, run in runs.items():
            by_seed.setdefault(job.seed, []).append(run)
        for seed, own in by_seed.items():
            self.worth.measure(own, seed)
        tried: dict[_Job, Tried] = {}
        for job, run in runs.items():
            metrics, config = run.folder.metrics(), run.config
            batch = int(config["settings"]["batch_size"]) * WAYS[job.method].each
            tried[job] = Tried(
                job.method,
                job.price,
                job.seed,
                float(config["resolved"]["learning_rate"]),
                len(metrics) * batch,
                sum(map(learning_seconds, metrics)),
                self.worth.of(run, job.seed),
                self.worth.on_the_way(run, job.seed),
                run.name,
            )
        return tried
