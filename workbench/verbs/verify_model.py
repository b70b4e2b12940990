"""A first look at a model of one's own: plan, preflight and the first updates, as one table."""

import math
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.data.plain_prompts import PLAIN_PROMPTS
from workbench.errors import ConfigError, RunError
from workbench.presets import preset_settings
from workbench.progress import duration, tell, working
from workbench.runs import Run, RunFolder, live_holder, several_processes, worker
from workbench.runs.devices import busy
from workbench.runs.folder import LIVE
from workbench.settings import PPOSettings
from workbench.verbs.load_data import load_prompts
from workbench.verbs.model_names import Model, check_model, device_of
from workbench.verbs.plan_memory import plan
from workbench.verbs.reward_specs import check_reward, ship_reward
from workbench.verbs.run_preflight import preflight
from workbench.verbs.train import check_ppo, train_ppo
from workbench.verbs.verify_table import Verified, VerifiedInputs

if TYPE_CHECKING:
    from workbench.data.messages import Message

UPDATES = 20
MINUTES = 5.0
ENOUGH = 5  # updates, before an update has fewer answers for the sake of more of them
ENDING = 5.0  # seconds that a run takes to end
MARGIN = 0.85  # of the time that is left is planned for: a machine may have other work
TARGET = "workbench.training.fixed_rewards:letter_e"
TARGET_WORDS = "e's in every twenty letters of an answer (built in: a target to be seen to learn)"
USUAL = {"steps": UPDATES, "schedule": "constant", "checkpoint_every": 0, "watch_every": UPDATES}
USUAL |= {"watch_prompts": 1}
"""The first updates of a longer run: nothing is saved, and the learning rate does not fall yet."""


@working("verify")
def verify(
    model: Model,
    *,
    reward: Any = None,
    prompts: Any = None,
    preset: str | None = None,
    minutes: float = MINUTES,
    **settings: Any,
) -> Verified:
    """Plan, preflight and up to 20 PPO updates of a model on this machine, as a table to share.

    Nothing has to be at hand but the model. Where no reward is given the policy is paid for the
    letter e, and answers plain prompts: a trained model learns that in 20 updates, and anyone can
    see whether it did. Nothing is kept but the table. What does not fit into memory as planned is
    not loaded.

    It takes as long as is given: as many updates, of as many answers, as fit by the short update
    of the preflight. When the time is over it stops, and the table says what was done.

    Args:
        model: a hub id, folder, run or ``builtin:NAME``.
        reward: what :func:`train_ppo` takes.
        prompts: what :func:`load_prompts` reads; 32 plain ones where it is None.
        preset: settings for a card, by name (:func:`presets`).
        minutes: that all of it may take.
        settings: see ``PPOSettings``; ``steps`` is 20 and the learning rate constant unless given.
            A ``batch_size`` that is given is kept; fewer updates may fit then.

    Raises:
        WorkbenchError: the model, a setting, the reward or the prompts cannot be used as given, or
            a run is live on the device.
    """
    began = time.monotonic()
    _check_minutes(minutes)
    usual = USUAL if prompts is None else {**USUAL, "watch_every": 0}  # theirs are not to be shared
    checked = PPOSettings.from_dict({**preset_settings(preset, {}), **usual, **settings})
    source = TARGET if reward is None else reward
    _check(model, checked)
    check_reward(source)
    messages = load_prompts(list(PLAIN_PROMPTS) if prompts is None else prompts)
    inputs = VerifiedInputs(
        model=_name(model),
        reward=TARGET_WORDS if reward is None else _reward_name(ship_reward(source).spec),
        prompts=f"{len(messages)} {'plain ones, built in' if prompts is None else 'given'}",
        changes=_changes(preset, settings),
    )
    worker.release()  # what is interactive makes room, as for any run: the plan asks what is free
    seconds: dict[str, float] = {}
    tell(
        f"about {duration(60 * minutes)} at most: the memory plan, the preflight, then up to "
        f"{checked.steps} updates of {checked.batch_size} answers; fewer where they do not fit"
    )
    end = began + 60 * minutes
    with _stage(seconds, "plan", "1 of 3: the memory plan"):
        verified = Verified(inputs, plan(model, checked), checked, seconds)
    if not verified.plan.fits:
        return verified
    with _stage(seconds, "preflight", "2 of 3: the preflight"), _faults(verified, "preflight"):
        verified.preflight = preflight(
            model,
            source,
            checked,
            prompts=messages,
            timeout=end - time.monotonic(),
            planned=verified.plan,
            on_progress=lambda row: tell(f"  {row['text']}"),
        )
    if verified.preflight is not None:
        _fit(verified, end - time.monotonic(), keep="batch_size" in settings)
        text = f"3 of 3: {verified.shown_plan}"
        with _stage(seconds, "updates", text), _faults(verified, "updates"):
            _update(verified, model, source, messages, end)
    return verified


def _check(model: Model, settings: PPOSettings) -> None:
    """Refuse now what would be refused when a minute has passed.

    Raises:
        ConfigError: settings that contradict each other, or several processes were launched.
        ModelError: there is no such model, or it gives no answers.
        RunError: a run is live on the device.
    """
    if several_processes.processes() > 1:
        raise ConfigError(
            "a model is verified by one process, and several were launched",
            where="accelerate launch",
            fix="run workbench verify by itself; it looks at one device",
        )
    check_ppo(settings, heldout=False)
    check_model(model, "model", "answers")
    device = device_of(settings)
    if (holder := live_holder(device)) is not None:
        raise busy(device, holder, RunFolder("verify"))


def _check_minutes(minutes: float) -> None:
    """Refuse what is no time.

    Raises:
        ConfigError: it is not above 0.
    """
    if not 0 < minutes < math.inf:
        raise ConfigError(
            f"{minutes} minutes are no time to verify a model in",
            where="minutes",
            fix=f"give a number above 0, e.g. minutes={MINUTES:g}",
        )


def _fit(verified: Verified, left: float, *, keep: bool) -> None:
    """Settle how many updates of how many answers fit into the seconds that are left.

    The largest update of which there can be :data:`ENOUGH` (or all that are asked for); where
    even the smallest is too large for that, as many of those as fit, and one at least.

    Args:
        verified: with its preflight, which says what updates take; its settings are changed.
        left: seconds until the end.
        keep: whether the number of answers was asked for, and stays.
    """
    settings, preflight = verified.settings, verified.preflight
    assert preflight is not None
    updates = preflight.updates[:1] if keep else preflight.updates
    if not updates:
        return
    room = max(0.0, left - preflight.load - ENDING) * MARGIN
    enough = min(ENOUGH, settings.steps)
    size, seconds = next(
        (each for each in updates if enough * each[1] <= room),
        updates[-1],
    )
    steps = max(1, min(settings.steps, int(room / seconds) if seconds else settings.steps))
    changes: dict[str, Any] = {"steps": steps, "batch_size": size}
    changes["mini_batches"] = min(settings.mini_batches, size)
    if settings.watch_every:
        changes["watch_every"] = steps
    verified.settings, verified.planned = settings.changed(**changes), steps * seconds


def _update(
    verified: Verified, model: Model, reward: Any, messages: "list[list[Message]]", end: float
) -> None:
    """The first updates of a run, in a folder that is not kept, until the time is over."""
    with tempfile.TemporaryDirectory(prefix="workbench-", ignore_cleanup_errors=True) as folder:
        name, settings = str(Path(folder) / "verify"), verified.settings.to_dict()
        run = train_ppo(model, reward, messages, name=name, judge="none", **settings)

        def time_is_over() -> None:
            verified.out_of_time = True
            with suppress(RunError):  # it has ended by itself meanwhile
                run.stop()

        timer = threading.Timer(max(0.0, end - time.monotonic()), time_is_over)
        timer.start()
        try:
            run.wait()
        finally:
            timer.cancel()
            _end(run)
            verified.run, verified.rows = run.config, run.folder.metrics()
            verified.samples = run.folder.samples()
            events = run.folder.events()
            verified.notices = [row["message"] for row in events if row["kind"] == "warning"]


def _end(run: Run) -> None:
    """Stop a run whose waiting was interrupted: its folder is about to be deleted."""
    if run.status in LIVE:
        tell("… or rather: it ends here, since nobody waits for its table")
        with suppress(RunError):
            run.stop(wait=True)


@contextmanager
def _stage(seconds: dict[str, float], name: str, text: str) -> Iterator[None]:
    """Print what goes on, and write into ``seconds`` how long the block took."""
    tell(text)
    begun = time.monotonic()
    try:
        yield
    finally:
        seconds[name] = time.monotonic() - begun


@contextmanager
def _faults(verified: Verified, name: str) -> Iterator[None]:
    """Write a RunError of the block into the table, which is shared all the same."""
    try:
        yield
    except RunError as error:
        verified.stopped, verified.log = f"the {name} ended early", str(error)


def _name(model: Model) -> str:
    """A model's name without the folders above it: those are nobody's business."""
    if isinstance(model, Run):
        return f"run {model.name}"
    return Path(model).name if Path(model).is_dir() else str(model)


def _reward_name(spec: Any) -> str:
    """A reward as the config names it, likewise."""
    if isinstance(spec, str):
        return Path(spec).name if Path(spec).is_dir() else spec
    if "ensemble" in spec:
        return f"an ensemble of {len(spec['ensemble'])}"
    if "mix" in spec:
        parts = (f"{part['weight']:g} × {_reward_name(part['source'])}" for part in spec["mix"])
        return " + ".join(parts)
    return f"the function {spec['function']['function']}"


def _changes(preset: str | None, settings: dict[str, Any]) -> str:
    changes = [] if preset is None else [f"preset {preset}"]
    changes += [f"{name} = {value!r}" for name, value in settings.items()]
    if "schedule" not in settings:
        changes.append("a constant learning rate")
    return f"{', '.join(changes)}; otherwise PPO's defaults"
