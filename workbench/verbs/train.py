"""Runs: start one or attach to it, find it again, wait for it."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench import quick
from workbench.errors import ConfigError, check_option
from workbench.presets import PRESETS, rounded
from workbench.progress import working
from workbench.runs import (
    Run,
    RunFolder,
    Runs,
    attach_or_create,
    live_holder,
    runs_root,
    several_processes,
)
from workbench.runs import open_run as _open_run
from workbench.runs.devices import busy
from workbench.settings import (
    PERSON,
    DPOSettings,
    OnlineDPOSettings,
    PPOSettings,
    RewardSettings,
    RunSettings,
    SFTSettings,
)
from workbench.verbs.load_data import as_pairs, load_examples, load_prompts, no_label
from workbench.verbs.model_names import (
    Model,
    check_model,
    check_preset,
    device_of,
    model_name,
    on_embedded_base,
)
from workbench.verbs.reward_specs import check_reward, ship_reward

if TYPE_CHECKING:
    from workbench.data.store.labels import StoreOrPath
    from workbench.table_frame import TableFrame


@working("train_sft")
def train_sft(
    model: Model,
    data: Any,
    *,
    name: str | None = None,
    fresh: bool = False,
    trust: bool = False,
    **settings: Any,
) -> Run:
    """Fine-tune on instructions, or on plain texts (next-token pretraining).

    Args:
        model: a hub id, folder, run, or ``builtin:tiny-base``.
        data: what :func:`load_examples` reads.
        name: the run's name; made from what it works on where it is None.
        fresh: start over where a run of this name exists (the old one is kept aside).
        trust: where a run of this name exists and was made elsewhere, take it as yours: to go on
            with it may run its author's code.
        settings: see ``SFTSettings``.
    """
    checked = SFTSettings.from_dict(settings)
    check_model(model, "model", "answers")
    return _launch(_Launch(model, checked, load_examples(data), name, fresh, trust))


@working("train_reward")
def train_reward(
    model: Model,
    pairs: Any,
    *,
    name: str | None = None,
    fresh: bool = False,
    trust: bool = False,
    **settings: Any,
) -> Run:
    """Train a reward model on pairs, as a LoRA adapter and a head on a 4-bit base.

    Args:
        model: what it starts from, usually what the policy starts from.
        pairs: what :func:`load_pairs` reads.
        name: as in :func:`train_sft`.
        fresh: as in :func:`train_sft`.
        trust: as in :func:`train_sft`.
        settings: see ``RewardSettings``.

    Raises:
        DataError: no pair has a label to learn from.
    """
    checked = RewardSettings.from_dict(settings)
    check_model(model, "model")
    return _launch(_Launch(model, checked, _labelled(pairs, checked.ties), name, fresh, trust))


def _labelled(pairs: Any, ties: str) -> list[dict[str, Any]]:
    """The rows to train on.

    Raises:
        DataError: there is none.
    """
    labelled = as_pairs(pairs)
    rows = labelled.training_rows(ties=ties)
    if not rows:
        raise no_label(labelled)
    return rows


@working("train_dpo")
def train_dpo(
    model: Model,
    pairs: Any,
    *,
    name: str | None = None,
    fresh: bool = False,
    trust: bool = False,
    judge: str = "auto",
    reward: Any = None,
    reference: Model | None = None,
    **settings: Any,
) -> Run:
    """Train a policy on pairs directly, without a reward model (DPO).

    Args:
        model: what the policy starts from; frozen, it is also the reference.
        pairs: what :func:`load_pairs` reads.
        name: as in :func:`train_sft`.
        fresh: as in :func:`train_sft`.
        trust: as in :func:`train_sft`.
        judge: as in :func:`train_ppo`, of the watched answers.
        reward: as in :func:`train_ppo`; it scores the watched answers, and nothing learns from it.
        reference: what the policy is compared with and KL measured against, where it is not what
            the policy starts from.
        settings: see ``DPOSettings``.

    Raises:
        DataError: no pair has a label to learn from.
    """
    checked = DPOSettings.from_dict(settings)
    check_option(judge, ("auto", "gold", "none"), "judge")
    check_model(model, "model", "answers")
    if reward is not None:
        check_reward(reward)
    rows = _labelled(pairs, checked.ties)
    inputs, files = _policy_inputs(model, judge, reward, reference)
    return _launch(_Launch(model, checked, rows, name, fresh, trust, inputs, files))


@working("train_online_dpo")
def train_online_dpo(
    policy: Model,
    reward: Any,
    prompts: Any,
    *,
    name: str | None = None,
    fresh: bool = False,
    trust: bool = False,
    judge: str = "auto",
    reference: Model | None = None,
    **settings: Any,
) -> Run:
    """Train a policy on which of its own two answers a reward prefers (online DPO).

    Args:
        policy: what it starts from; frozen, it is also the reference.
        reward: as in :func:`train_ppo`. Only which of two answers scores higher counts; equal ones
            are left out and counted. Or ``"person"``: each step waits until its pairs are judged
            in ``wb.label(run)``; take a ``batch_size`` of few prompts, and few ``steps``.
        prompts: what :func:`load_prompts` reads.
        name: as in :func:`train_sft`.
        fresh: as in :func:`train_sft`.
        trust: as in :func:`train_sft`.
        judge: as in :func:`train_ppo`.
        reference: as in :func:`train_dpo`.
        settings: see ``OnlineDPOSettings``.
    """
    checked = OnlineDPOSettings.from_dict(settings)
    check_option(judge, ("auto", "gold", "none"), "judge")
    check_model(policy, "policy", "answers")
    asks = isinstance(reward, str) and reward == PERSON
    if not asks:
        check_reward(reward)
    rows = [{"prompt": prompt} for prompt in load_prompts(prompts)]
    inputs, files = _policy_inputs(policy, judge, None if asks else reward, reference)
    if asks:
        inputs = {"reward": PERSON, **inputs}
    return _launch(_Launch(policy, checked, rows, name, fresh, trust, inputs, files))


@working("train_ppo")
def train_ppo(
    policy: Model,
    reward: Any,
    prompts: Any,
    *,
    name: str | None = None,
    fresh: bool = False,
    trust: bool = False,
    judge: str = "auto",
    preset: str | None = None,
    reference: Model | None = None,
    heldout_reward: Model | None = None,
    **settings: Any,
) -> Run:
    """Train a policy against a reward by PPO.

    Args:
        policy: what it starts from; frozen, it is also the reference.
        reward: a run of :func:`train_reward`, waited for where it is not finished; a function
            ``(prompts, responses) -> scores`` of message lists and texts, or its
            ``"module:name"``; a list of runs, an ensemble (``reward_reduce``); or a weighted mix,
            ``{source: weight}`` or a list of ``(weight, source)``.
        prompts: what :func:`load_prompts` reads.
        name: as in :func:`train_sft`.
        fresh: as in :func:`train_sft`.
        trust: as in :func:`train_sft`.
        judge: ``gold`` logs the sample world's gold score beside the reward score, ``none`` does
            not; ``auto`` does for the embedded models. The policy never sees it.
        preset: settings for a card and a size of model, by name (:func:`presets`); what is given
            beside it counts.
        reference: what KL is charged and measured against, where it is not what the policy starts
            from: in a later round, the model before the first one.
        heldout_reward: a second reward model, trained on other pairs: its score is logged, and
            ``keep_best`` and ``patience`` go by it. The policy never sees it.
        settings: see ``PPOSettings``.
    """
    checked = check_preset(preset, settings)
    check_option(judge, ("auto", "gold", "none"), "judge")
    check_ppo(checked, heldout=heldout_reward is not None)
    check_model(policy, "policy", "answers")
    check_reward(reward)
    if heldout_reward is not None:
        check_model(heldout_reward, "heldout_reward", "scores")
    rows = [{"prompt": prompt} for prompt in load_prompts(prompts)]
    inputs, files = _policy_inputs(policy, judge, reward, reference)
    if heldout_reward is not None:
        inputs["heldout_reward"] = model_name(heldout_reward)
    return _launch(_Launch(policy, checked, rows, name, fresh, trust, inputs, files))


def _policy_inputs(
    policy: Model, judge: str, reward: Any, reference: Model | None
) -> tuple[dict[str, Any], dict[str, bytes] | None]:
    """What a policy's run is made of beside its data, and what its folder holds from the start."""
    if reference is not None:
        check_model(reference, "reference", "answers")
    if judge == "auto":
        judge = "gold" if on_embedded_base(policy) else "none"
    inputs: dict[str, Any] = {"judge": judge}
    files: dict[str, bytes] | None = None
    if reward is not None:
        shipped = ship_reward(reward)
        inputs, files = {"reward": shipped.spec, **inputs}, shipped.files
    if reference is not None:
        inputs["reference"] = model_name(reference)
    return inputs, files


def check_ppo(settings: PPOSettings, *, heldout: bool) -> None:
    """Refuse settings that contradict each other, before a process is started for them.

    Args:
        settings: of the run.
        heldout: whether there is a held-out reward model.

    Raises:
        ConfigError: they do.
    """
    if settings.advantage != "gae" and settings.samples_per_prompt < 2:
        raise ConfigError(
            f"{settings.advantage} compares answers to one prompt, and there is only one",
            where="samples_per_prompt = 1",
            fix="set samples_per_prompt to 2 or more, or advantage='gae'",
        )
    if settings.batch_size % settings.samples_per_prompt:
        raise ConfigError(
            "batch_size is no multiple of samples_per_prompt",
            where=f"batch_size = {settings.batch_size}, "
            f"samples_per_prompt = {settings.samples_per_prompt}",
            fix="make batch_size a multiple of samples_per_prompt",
        )
    if settings.kl_place == "loss" and settings.kl_estimator == "k1":
        raise ConfigError(
            "k1 in the loss charges nothing: the mean of its gradient is 0",
            where="kl_place = 'loss', kl_estimator = 'k1'",
            fix="set kl_estimator='k3', as GRPO has it, or 'k2'",
        )
    settings.check_heldout(heldout)


class _Launch(NamedTuple):
    """What a verb asks for: the run of this name, with this model, settings and data.

    Attributes:
        model: what the run starts from.
        settings: checked; their class says which kind of run it is.
        rows: the data.
        name: as the verb got it.
        fresh: as the verb got it.
        trust: as the verb got it.
        inputs: what else the run is made of, as its config names it.
        files: what a new run's folder holds from the start, by name.
    """

    model: Model
    settings: RunSettings
    rows: list[dict[str, Any]]
    name: str | None
    fresh: bool
    trust: bool = False
    inputs: dict[str, Any] | None = None
    files: dict[str, bytes] | None = None


def _launch(launch: _Launch) -> Run:
    """Attach to the run that does this, or create it and start its process."""
    from workbench.models.source import resolve
    from workbench.training.trackers import check_trackers

    kind = launch.settings.kind
    check_trackers(launch.settings.report_to)
    model = model_name(launch.model)
    source = resolve(model)
    if kind != "reward":
        source.check_answers()
    settings, rows = quick.shortened(launch.settings, launch.rows)
    device = device_of(settings)
    config = {"model": model, "inputs": launch.inputs or {}, "settings": settings.to_dict()}
    root, name = _place(launch.name)
    holder = live_holder(device) if launch.fresh else None
    if holder is not None:  # said before the old run is put aside
        raise busy(device, holder, RunFolder(root / (name or kind)))
    attached = attach_or_create(root, kind, name, config, rows, launch.fresh, launch.files)
    if launch.trust:
        attached.folder.trust()
    run = _shown(Run(attached.folder))
    alone = several_processes.processes() == 1  # else those launched train themselves
    if attached.created and alone:
        try:
            run.start(device)
        except Exception:
            shutil.rmtree(attached.folder.path)  # it never ran: the name stays free
            raise
    return run


def _place(name: str | None) -> tuple[Path, str | None]:
    """A name below the runs' root, or a path of its own (the command line's ``--out``)."""
    if name is None or not ("/" in name or name.startswith(".")):
        return runs_root(), name
    path = Path(name).expanduser().absolute()
    return path.parent, path.name


def open_run(name_or_path: str | Path, *, store: "StoreOrPath | None" = None) -> Run:
    """Attach to a run by its name or folder, whether it is live or not.

    Args:
        name_or_path: as ``wb.runs()`` names it, or its folder.
        store: where the panel's sample table sends answers to be labelled, by one key; a label
            store or its path.

    Raises:
        RunError: there is no such run; the nearest names are listed.
    """
    run = _shown(_open_run(name_or_path))
    if store is not None:
        from workbench.data.store.labels import as_store

        run.store = as_store(store)
    return run


def runs() -> Runs:
    """All runs: in a notebook a table to pick from and compare; ``.frame`` is it for programs.

    What a frame can do, this can: ``runs()["name"]``, ``len(runs())``, ``runs().query(…)``.
    """
    if Runs.view_factory is None and find_spec("anywidget") is not None:
        Runs.view_factory = staticmethod(_runs_view)
    return Runs()


def _runs_view(all_runs: Runs) -> Any:
    from workbench.widgets.all_runs.runs_view import RunsView

    return RunsView(all_runs)


def presets() -> "TableFrame":
    """Settings by card and size of model: for which they are, what they take, and what each sets.

    ``planned_gb`` is the memory plan of the longest prompts and answers (``wb.plan``), to which
    CUDA adds something under 1 GB; ``planned_minutes`` is an estimate from bytes and
    floating-point operations, whose formula and assumptions are told by
    :func:`workbench.model_shapes.update_seconds`. Both are planned, not measured; ``basis`` says
    for what. ``wb.verify(model, preset=...)`` measures them on your machine.
    """
    import pandas as pd

    from workbench.table_frame import TableFrame

    columns = dict.fromkeys(key for preset in PRESETS.values() for key in preset.settings)
    rows: list[dict[str, Any]] = []
    for name, preset in PRESETS.items():
        settings = PPOSettings.from_dict(preset.settings).to_dict()
        planned = {"planned_gb": preset.planned.gb, "planned_minutes": rounded(preset.minutes)}
        about = {"preset": name, "card": preset.card, "model": preset.model, **planned}
        rows.append({**about, "basis": preset.basis, **{key: settings[key] for key in columns}})
    names = [row.pop("preset") for row in rows]
    return TableFrame(rows, index=pd.Index(names, name="preset"))


def finished(run: Run) -> Run:
    """Wait for a run; one that was left unfinished goes on."""
    if run.status in ("stopped", "failed", "paused"):
        run.resume()
    return run.wait()


def _shown(run: Run) -> Run:
    """In a notebook a run shows its live panel when it ends a cell."""
    if Run.panel_factory is None:
        Run.panel_factory = staticmethod(_panel)
    return run


def _panel(run: Run) -> Any:
    try:
        from workbench.widgets.run_panel.panel import RunPanel
    except ModuleNotFoundError:
        return _Plain(repr(run))
    return RunPanel(run)


class _Plain:
    """What a run shows where the notebook extra is not installed."""

    def __init__(self, text: str) -> None:
        self._text = text

    def _ipython_display_(self) -> None:
        print(f"{self._text}\npip install 'rlhf-workbench[notebook]' shows its panel")  # noqa: T201
