"""Before a long run: is what must hold true here, with this model, reward, precision and memory?

One short PPO update of the real trainer is looked at from all sides.
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workbench.data.messages import Message
from workbench.events import Place
from workbench.models.encoding import Encoded
from workbench.models.forward import lay, response_hidden, response_logprobs, response_stats
from workbench.settings import PPOSettings
from workbench.training.checkpoint import load_checkpoint
from workbench.training.checks.live_bytes import LiveBytes, address, all_tensors
from workbench.training.checks.memory_plan import micro_batch, plan, ways
from workbench.training.out_of_memory import give_back, ran_out
from workbench.training.ppo.ppo import PPOTrainer
from workbench.training.update_time import UpdateTimes

EPISODES = 8
ANSWER = 32
"""Tokens of the longest answer that is sampled for the checks."""
PARTS = 3
"""Parts of the work, as they are told."""
_RATIO = 1e-3
EXACT, ROUNDED = 1e-4, 1e-2
"""Mean |ratio - 1| that another batch may make: in fp32, and in less or in 4 bits."""
_ENDS = 0.01
MEMORY = 1.15
"""How much more than planned may be measured, as a factor."""


class Check(NamedTuple):
    """One thing that must hold.

    Attributes:
        name: what it is.
        passed: whether it holds.
        found: what was seen.
        fix: what to do where it does not hold.
    """

    name: str
    passed: bool
    found: str
    fix: str


class MeasuredChecks(NamedTuple):
    """What was checked, and what the run will take by the seconds of the short update.

    Attributes:
        checks: each of them.
        load: seconds that loading took, until the first update.
        updates: answers of an update, and the seconds that it will take; the most answers first.
    """

    checks: list[Check]
    load: float
    updates: list[tuple[int, float]]


def measured_preflight(
    model: str,
    reward: Any,
    prompts: Sequence[list[Message]],
    settings: PPOSettings,
    folder: Path,
    planned: Sequence[dict[str, Any]] | None = None,
    tell: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> MeasuredChecks:
    """Look at one short update of a run.

    Args:
        model: the policy.
        reward: as a run's config has it.
        prompts: message lists.
        settings: of the run that is to come.
        folder: an empty one, for what the update writes.
        planned: the memory plan's parts, where there is one already.
        tell: called with (done, total, text) as it goes on.

    Raises:
        WorkbenchError: what the run itself would raise at its start.
    """
    began = time.perf_counter()
    how = ways(model, settings)  # of the run: the short update's own would be others
    settings = settings.changed(
        micro_batch_tokens=how.tokens, gradient_checkpointing=how.recomputes
    )
    times = UpdateTimes(model, settings, prompts)
    tell(0, PARTS, f"{times.words}; loading the model")
    others = {address(tensor) for tensor in all_tensors()}  # not this run's: a notebook's, a test's
    short = settings.changed(
        batch_size=EPISODES * settings.samples_per_prompt,
        mini_batches=1,
        epochs=1,
        steps=1,
        watch_every=0,
        warmup_steps=0,
        warmup_share=0.0,
        keep_best=False,
        patience=0,
        response_length=min(ANSWER, settings.response_length),
    )
    trainer = PPOTrainer(model, reward, prompts, short, Place(folder))
    load = time.perf_counter() - began
    tell(1, PARTS, f"a short update of {short.batch_size} answers")
    drawn = [trainer.prompts[i % len(trainer.prompts)] for i in range(EPISODES)]
    rows, messages = trainer.sample(drawn), [prompt.messages for prompt in drawn]
    checks = [_rebatched(trainer, rows), _ends(trainer, rows, settings)]
    before = _frozen(trainer, rows, messages)
    metrics = trainer.train_step().metrics
    tell(2, PARTS, "the checks after it, and the longest micro-batch")
    checks = [*_first(metrics), *checks, _isolated(before, _frozen(trainer, rows, messages))]
    checks += [_finite(metrics, half=trainer.optimiser.half), _saved(trainer)]
    parts = plan(model, settings)["parts"] if planned is None else planned
    checks += _longest(trainer, settings, parts, others)
    return MeasuredChecks(checks, load, times.by_update(short, metrics))


@torch.no_grad()
def _logprobs(trainer: PPOTrainer, rows: Sequence[Encoded], role: str | None) -> list[Tensor]:
    """Of each row its answer's log-probabilities."""
    batch = lay(rows, trainer.base)
    with trainer.roles.acting(role):
        table = response_stats(trainer.base, batch, temperature=trainer.temperature).logprobs
    return [row[mask] for row, mask in zip(table, batch.response_mask, strict=True)]


def _first(metrics: dict[str, float | None]) -> list[Check]:
    ratio, kl = metrics["policy/first_ratio"], metrics["objective/kl"]
    assert ratio is not None
    assert kl is not None
    return [
        Check(
            "the ratio is 1 before the first step",
            abs(ratio - 1) <= _RATIO,
            f"{ratio:.6f}",
            "training and scoring see the same tokens differently: look for dropout, or another "
            "attention; please report it with the model's name",
        ),
        Check(
            "the KL is 0 before the first step",
            kl == 0.0,
            f"{kl:.2e} nats",
            "policy and reference must be the same weights at the start: give as the model what "
            "the policy really starts from",
        ),
    ]


@torch.no_grad()
def _own_logprobs(trainer: PPOTrainer, row: Encoded) -> Tensor:
    """The same of a row under the policy, by the forward of transformers alone."""
    base = trainer.base
    with trainer.roles.acting("policy"):
        logits = base.model(input_ids=torch.tensor([row.ids], device=base.device)).logits[0]
    wide = logits[len(row.prompt) - 1 : -1].to(torch.promote_types(logits.dtype, torch.float32))
    tokens = torch.tensor(row.response, device=base.device)[:, None]
    return (wide / trainer.temperature).log_softmax(-1).gather(1, tokens)[:, 0]


def _rebatched(trainer: PPOTrainer, rows: Sequence[Encoded]) -> Check:
    together = _logprobs(trainer, rows, "policy")
    alone = [_own_logprobs(trainer, row) for row in rows]
    apart = (torch.cat(together).double() - torch.cat(alone).double()).exp().sub(1).abs()
    wide = trainer.base.dtype in (torch.float32, torch.float64)
    limit = EXACT if wide and trainer.base.quantization == "none" else ROUNDED
    mean = float(apart.mean())
    return Check(
        "an answer's log-probabilities are the model's own, and do not depend on its batch",
        mean <= limit,
        f"mean |ratio − 1| {mean:.1e}, at most {limit:g}",
        "use dtype='float32', or set micro_batch_tokens so that one answer is in a batch",
    )


@torch.no_grad()
def _ends(trainer: PPOTrainer, rows: Sequence[Encoded], settings: PPOSettings) -> Check:
    base, batch = trainer.base, lay(rows, trainer.base)
    with trainer.roles.acting("policy"):
        logits = base.logits(response_hidden(base, batch)).float() / trainer.temperature
    each = logits.softmax(-1)[:, list(base.eos_ids)].sum(-1)
    chance = -math.expm1(settings.response_length * math.log1p(-min(float(each.mean()), 0.999)))
    return Check(
        "an answer can end by itself",
        chance >= _ENDS,
        f"chance to end within {settings.response_length} tokens: {chance:.0%}",
        "fine-tune on answers that end (wb.train_sft), check the tokenizer's EOS token, or raise "
        "response_length",
    )


def _frozen(
    trainer: PPOTrainer, rows: Sequence[Encoded], messages: Sequence[list[Message]]
) -> list[Tensor]:
    """What must not change: the reference's log-probabilities, the reward's scores."""
    reward = trainer.reward
    assert reward is not None  # PPO's own always is
    read = reward.read(rows, messages)
    scores = reward.scores(read, tokens=trainer.settings.tokens_at_once).total
    return [torch.cat(_logprobs(trainer, rows, trainer.reference)), scores]


def _isolated(before: list[Tensor], after: list[Tensor]) -> Check:
    names = ("the reference", "the reward")
    pairs = zip(names, before, after, strict=True)
    changed = [name for name, was, now in pairs if not torch.equal(was, now)]
    return Check(
        "a step changes neither the reference nor the reward",
        not changed,
        f"changed: {' and '.join(changed)}" if changed else "equal to the bit",
        "a reward function must give one text one score; else please report it",
    )


def _finite(metrics: dict[str, float | None], *, half: bool) -> Check:
    """In float16 a gradient may overflow at first: the loss scale is then halved, as it should."""
    looked_at = dict(metrics)
    if half and metrics["skipped_steps"]:
        looked_at.pop("grad_norm")
    odd = [k for k, v in looked_at.items() if v is not None and not math.isfinite(v)]
    return Check(
        "all numbers are finite in this precision",
        not odd,
        f"not finite: {', '.join(odd)}" if odd else f"{len(looked_at)} metrics",
        "use dtype='bfloat16' or 'float32', or a lower learning_rate",
    )


def _saved(trainer: PPOTrainer) -> Check:
    """A checkpoint's weights, adapters and heads, read back."""
    trainer._save()  # pyright: ignore[reportPrivateUsage]  # as a run does
    loaded = load_checkpoint(trainer.place.folder)
    assert loaded is not None
    pairs = zip(loaded[1]["weights"], trainer.optimiser.parameters, strict=True)
    wrong = sum(not torch.equal(saved, own.detach().cpu()) for saved, own in pairs)
    return Check(
        "adapters and heads come back from a checkpoint",
        not wrong,
        f"{len(trainer.optimiser.parameters)} tensors, {wrong} differ",
        "check the disk; then please report it",
    )


def _longest(
    trainer: PPOTrainer,
    settings: PPOSettings,
    parts: Sequence[dict[str, Any]],
    others: set[int | None],
) -> list[Check]:
    """The largest micro-batch goes through, in the memory that was planned."""
    shape = micro_batch(settings)
    held = [p for p in parts if p["phase"] == "optimise" and not p["part"].startswith("copy")]
    planned = sum(p["bytes"] for p in held)
    prompt = max(1, shape.length - shape.answer)
    rows = [  # no two prompts alike: those would share a forward
        Encoded([number, *[0] * (prompt - 1)], [0] * (shape.length - prompt))
        for number in range(shape.rows)
    ]
    fits, measured = True, 0
    try:
        measured = _measured(trainer, rows, others)
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        fits = False
    give_back()
    name = f"the longest micro-batch fits ({shape.rows} × {shape.length} tokens)"
    advice = (
        f"lower micro_batch_tokens (it is {settings.micro_batch_tokens}) or max_length, or set "
        "gradient_checkpointing=True"
    )
    twice = ", layers computed twice" if trainer.base.recomputes else ""
    checks = [Check(name, fits, f"it does{twice}" if fits else "memory ran out", advice)]
    if fits:
        figures = f"{measured / 1e9:.3f} GB, planned {planned / 1e9:.3f} GB"
        right = measured <= MEMORY * planned
        more = "leave more memory free than wb.plan says, and please report it"
        checks.append(Check("it takes the memory that was planned", right, figures, more))
    return checks


def _measured(trainer: PPOTrainer, rows: list[Encoded], others: set[int | None]) -> int:
    """Peak bytes while a micro-batch goes forward and backward."""
    device = trainer.base.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        _pass(trainer, rows)
        return torch.cuda.max_memory_allocated(device)
    with LiveBytes(t for t in all_tensors() if address(t) not in others) as live:
        _pass(trainer, rows)
    return live.peak


def _pass(trainer: PPOTrainer, rows: list[Encoded]) -> None:
    base, batch = trainer.base, lay(rows, trainer.base)
    with trainer.roles.acting("policy"):
        hidden, temperature = response_hidden(base, batch), trainer.temperature
        logprobs = response_logprobs(base, batch, temperature=temperature, hidden=hidden)
        trainer.backward(logprobs.mean())
    trainer.optimiser.adamw.zero_grad(set_to_none=True)
