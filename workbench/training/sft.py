"""Supervised fine-tuning: the log-likelihood of answers, or of texts (pretraining)."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workbench.data.messages import Message, as_messages
from workbench.errors import ConfigError, DataError
from workbench.events import Place
from workbench.models.base import Base
from workbench.models.encoding import Encoded, Encoder, in_row, micro_batches
from workbench.models.fast.on_card import on_card, upload
from workbench.models.forward import collate, lay, response_hidden, response_stats
from workbench.models.model_card import how_to_answer, write_card
from workbench.models.model_kinds import text_weights
from workbench.models.sampling import CHECK_EVERY
from workbench.models.source import CARD, resolve
from workbench.settings import SFTSettings
from workbench.training.batches import batch_indices, steps_for
from workbench.training.clock import Clock, peak_memory_gb
from workbench.training.kept_aside import Example, WatchedAnswers, keep_aside
from workbench.training.learning_rates import rate_of
from workbench.training.loop import StepLoop, StepOutcome
from workbench.training.optimiser import Optimiser, plain_numbers

EXPECTED = 5
"""How many of the likeliest tokens the microscope shows at each place."""
LOOKS = 16
"""How often a run looks at its example, beside the last step."""
LOOKED_AT = 96
"""Tokens of the example's prompt (its last) and of its response (its first) that are looked at."""


class SFTTrainer(StepLoop[SFTSettings]):
    """One run of fine-tuning: what it trains, where it stands, and its step.

    Args:
        model: what is fine-tuned.
        rows: ``{"prompt", "response"}``, or ``{"text"}``; prompts and responses are message lists,
            a response may also be its text.
        settings: with ``lora_rank=0`` every weight is trained (no base in 4 bits then).
        place: where to write, and who steers.

    Raises:
        ModelError: the model cannot be loaded, or is a reward model.
        ConfigError: every weight is to be trained, of a 4-bit base or one with an adapter.
        DataError: no row can be used.
    """

    def __init__(
        self, model: str, rows: Sequence[dict[str, Any]], settings: SFTSettings, place: Place
    ) -> None:
        if settings.lora_rank == 0 and settings.quantization != "none":
            raise ConfigError(
                "weights in 4 bits cannot be trained themselves",
                where="lora_rank = 0, quantization = 'nf4'",
                fix="set quantization='none' to train every weight, or lora_rank above 0",
            )
        source = resolve(model)
        source.check_answers()
        if settings.lora_rank == 0 and source.adapter is not None:
            raise ConfigError(
                "training every weight would leave out the adapter that the model has",
                where=f"lora_rank = 0, {source.adapter}",
                fix="set lora_rank above 0 to go on from the adapter, or merge it into its base",
            )
        super().__init__(model, settings, place)
        self.base.check_answers()
        self.figures: dict[str, float] = {}  # of the last step
        self.encoder = Encoder.of(self.base, settings)
        examples, notices = encode_examples(self.base, rows, settings)
        self.notices += notices
        self.examples, self.aside = keep_aside(examples, settings.holdout, seed=settings.seed)
        self.total = steps_for(
            len(self.examples), settings.batch_size, steps=settings.steps, epochs=settings.epochs
        )
        self.optimiser = Optimiser(
            {"policy": self._prepare()},
            settings,
            rates={"policy": self._rate(settings.learning_rate)},
            total_steps=self.total,
            half=self.base.dtype == torch.float16,
            team=self.team,
        )
        shown = self.aside or self.examples
        self.watched = WatchedAnswers(shown, self.roles, self.encoder, settings, self.team)

    def _prepare(self) -> list[nn.Parameter]:
        """All weights of text, or one LoRA adapter (going on from the source's own)."""
        if self.settings.lora_rank == 0:
            weights = text_weights(self.base.model)
            for weight in weights:
                weight.requires_grad_(True)
            return weights
        source, seed = self.base.source, self.settings.seed
        self.roles.add("policy", trainable=True, source=source.adapter, seed=seed)
        return self.roles.parameters("policy")

    def set_live(self, name: str, value: Any) -> None:
        """The learning rate is the only one."""
        self.optimiser.rates["policy"] = self._rate(value)

    def _rate(self, rate: float | str) -> float:
        """A learning rate as it was set, or what auto means for what is trained here."""
        what = "sft" if self.settings.lora_rank else "sft, every weight"
        return rate_of(what, rate, self.base.width)

    def chosen(self) -> dict[str, Any]:
        """The learning rate, and how many examples are kept aside."""
        rate = self.optimiser.rates["policy"]
        return {"learning_rate": rate, "heldout_examples": len(self.aside)}

    def train_step(self) -> StepOutcome:
        """One optimiser step on the batch that belongs to it; now and then what was kept aside.

        The first look at that is before anything is learned, the others are after their step.
        """
        heldout, samples = self._look(safe=True) if self.step == 0 else ({}, ())
        settings, clock = self.settings, Clock()
        rows = batch_indices(self.step, len(self.examples), settings.batch_size, seed=settings.seed)
        batch = [self.examples[i] for i in rows]
        tokens = sum(len(e.response) for e in batch)
        self.begin("training", len(batch) // self.team.count, "examples")
        total = self.attempt(lambda: self._gradients(batch, tokens))
        done = self.optimiser.step()
        seconds = clock.total()
        self.figures = {"loss": total, "perplexity": math.exp(min(total, 50.0))}
        due = self.step % max(1, self.total // LOOKS) == 0 or self.step + 1 == self.total
        if self.is_due(settings.evaluate_every):
            heldout, samples = self._look(safe=False)
        return StepOutcome(
            samples=samples,
            tokens=(self._expectations(),) if due else (),
            metrics={
                **self.figures,
                **heldout,
                "grad_norm": done.grad_norm,
                "learning_rate": done.learning_rate,
                "skipped_steps": float(self.optimiser.skipped),
                "time/step": seconds,
                "tokens_per_second": sum(len(e.encoded.ids) for e in batch) / seconds,
                "memory/peak_gb": peak_memory_gb(self.base.device),
            },
        )

    def _look(self, *, safe: bool) -> tuple[dict[str, float], tuple[dict[str, Any], ...]]:
        """Held-out loss and watched answers.

        Args:
            safe: the run may stop on the way. After the optimiser's step it must not: the step
                would be done and undone at once.
        """
        figures: dict[str, float] = {}
        if self.aside:
            self.begin("evaluating", len(self.aside) // self.team.count, "examples")
            loss = self.attempt(lambda: self._heldout_loss(safe))
            figures = {"heldout/loss": loss, "heldout/perplexity": math.exp(min(loss, 50.0))}
        watched = self.watched
        if not watched.prompts:
            return figures, ()
        self.begin("answering", watched.length * len(watched.prompts), "tokens", each=CHECK_EVERY)
        pause = self.safe_point if safe else _go_on
        return figures, self.attempt(lambda: watched.rows(pause), smaller=watched.fewer)

    @torch.no_grad()
    def _heldout_loss(self, safe: bool) -> float:
        """Mean over the tokens of the examples that were kept aside, in nats."""
        mine = self.team.share(self.aside, [len(e.encoded.ids) for e in self.aside])
        lengths, summed = [len(e.encoded.ids) for e in mine], 0.0
        for group in micro_batches(lengths, tokens=self.settings.tokens_at_once):
            if safe:
                self.safe_point(len(group))
            summed += float(self._nll([mine[i] for i in group]))
        tokens = sum(len(e.response) for e in self.aside)
        return self.team.total({"loss": summed})["loss"] / tokens

    def state(self) -> dict[str, Any]:
        """Weights and optimiser, and what was answered before the first step."""
        return {**super().state(), "starts": self.watched.starts}

    def load(self, state: dict[str, Any]) -> None:
        """Take back :meth:`state`."""
        super().load(state)
        self.watched.starts = list(state["starts"])

    @torch.no_grad()
    def _expectations(self) -> dict[str, Any]:
        """One example, the same all through the run: what the model now expects at each token."""
        number = batch_indices(0, len(self.examples), 1, seed=self.settings.seed)[0]
        encoded, learned, _ = self.examples[number]
        seen = Encoded(encoded.prompt[-LOOKED_AT:], encoded.response[:LOOKED_AT])
        with self.roles.acting("policy" if self.settings.lora_rank else None):
            logits = self.base.logits(response_hidden(self.base, collate([seen], self.base)))
        logprobs = logits.float().log_softmax(-1)
        best = logprobs.topk(min(EXPECTED, logprobs.shape[-1]))
        chosen = logprobs.gather(1, torch.tensor(seen.response, device=logprobs.device)[:, None])
        encoder = self.encoder
        return {
            "prompt_tokens": encoder.pieces(seen.prompt),
            "tokens": encoder.pieces(seen.response),
            "learned": learned[: len(seen.response)],
            "logprobs": [float(f"{float(number):.9g}") for number in chosen[:, 0]],
            "expected": [
                [
                    [encoder.pieces([int(token)])[0], round(float(share), 6)]
                    for token, share in zip(tokens, shares, strict=True)
                ]
                for tokens, shares in zip(best.indices, best.values.exp(), strict=True)
            ],
        }

    def _gradients(self, batch: Sequence[Example], tokens: int) -> float:
        """Add the gradients of the mean over ``tokens``, in micro-batches; returns the mean."""
        lengths = [len(e.encoded.ids) for e in batch]
        mine = self.team.share(batch, lengths)
        losses: list[Tensor] = []
        budget = self.settings.tokens_at_once
        for group in micro_batches([len(e.encoded.ids) for e in mine], tokens=budget):
            self.safe_point(len(group))
            loss = self._nll([mine[i] for i in group]) / tokens
            self.backward(loss)
            losses.append(loss.detach())
        total = float(sum(plain_numbers(torch.stack(losses)))) if losses else 0.0
        return self.team.total({"loss": total})["loss"]

    def _counted(self) -> dict[str, int]:
        aside = {"held-out examples": len(self.aside)} if self.aside else {}
        return {"examples": len(self.examples), **aside}

    def _nll(self, rows: list[Example]) -> Tensor:
        """Summed negative log-likelihood of the tokens that are learned, in nats."""
        acting = self.roles.acting("policy" if self.settings.lora_rank else None)
        with acting:
            # without padding, of which transformers' masks make a card wait
            side = lay if on_card(self.base.device) else collate
            batch = side([row.encoded for row in rows], self.base)
            logprobs = response_stats(self.base, batch, temperature=1.0).logprobs
        width = logprobs.shape[1]
        learned = [[*row.learned, *([False] * (width - len(row.learned)))] for row in rows]
        return -(logprobs * upload(learned, logprobs.device, logprobs.dtype)).sum()

    def write_final(self, folder: Path) -> None:
        """Write what transformers (and peft) load alone."""
        if self.settings.lora_rank:
            self.roles.save("policy", folder, task="CAUSAL_LM", extra={"kind": "sft"})
            facts, data = self.base.facts, self._counted()
            write_card(
                folder,
                facts=facts,
                settings=self.settings,
                data=data,
                figures=self.figures,
                use=how_to_answer(facts),
            )
            return
        self.base.model.save_pretrained(str(folder))  # pyright: ignore[reportUnknownMemberType]
        self.base.tokenizer.save_pretrained(str(folder))  # pyright: ignore[reportUnknownMemberType]
        card = {"kind": "sft", "started_from": self.base.source.reference}
        (folder / CARD).write_text(json.dumps(card, indent=2) + "\n")


def _go_on(_: int) -> None:
    """In the place of a safe point where the run must not stop."""


def encode_examples(
    base: Base, rows: Sequence[dict[str, Any]], settings: SFTSettings
) -> tuple[list[Example], list[str]]:
    """Encode rows; texts are joined, EOS between them, and cut into blocks of ``max_length``.

    Of a conversation every answer is learned, or the last one (``assistant_turns``).

    Raises:
        DataError: no row is left.
    """
    encoder = Encoder.of(base, settings)
    examples: list[Example] = []
    stream: list[int] = []
    dropped = last_alone = talks = answers = 0
    for number, row in enumerate(rows, 1):
        if "text" in row:
            stream += encoder.text(row["text"])
            continue
        answer = row["response"]
        response = as_messages(answer, "assistant") if isinstance(answer, str) else answer
        with in_row(number):
            example, alone = _example(encoder, row["prompt"], response, settings)
        last_alone += alone
        several = _answers(row["prompt"], response)
        if several > 1 and example is not None and settings.assistant_turns == "all" and not alone:
            talks, answers = talks + 1, answers + several
        if example is None:
            dropped += 1
        else:
            examples.append(example)
    examples += _blocks(stream, encoder)
    if not examples:
        raise DataError(
            "no example is left to train on",
            where=f"{len(rows)} rows, max_length = {encoder.max_length}",
            fix="raise max_length, or give rows with a text, or a prompt and a response",
        )
    notices = _length_notices(encoder.shortened, dropped, last_alone, len(rows))
    if talks:
        notices.append(f"all {answers} answers of {talks} conversations are learned")
    return examples, notices + encoder.spelt_notices(len(rows))


def _example(
    encoder: Encoder, prompt: Sequence[Message], response: Sequence[Message], settings: SFTSettings
) -> tuple[Example | None, bool]:
    """A row as it is learned, and whether of several answers only the last one could be."""
    several = settings.assistant_turns == "all" and _answers(prompt, response) > 1
    talk = encoder.conversation(prompt, response) if several else None
    if talk is not None:
        messages = [*prompt, *response]
        first = next(i for i, message in enumerate(messages) if message["role"] == "assistant")
        return Example(*talk, messages[max(0, first - 1)]["content"]), False
    encoded = encoder.pair(prompt, response)
    question = [*prompt, *response[:-1]][-1]["content"]
    return None if encoded is None else Example.whole(encoded, question), several


def _answers(prompt: Sequence[Message], response: Sequence[Message]) -> int:
    """How many answers a conversation has."""
    return sum(message["role"] == "assistant" for message in (*prompt, *response))


def _blocks(stream: list[int], encoder: Encoder) -> list[Example]:
    """Cut a stream of ids into blocks; every token but a block's first is learned."""
    size = encoder.max_length
    blocks = [stream[i : i + size] for i in range(0, len(stream), size)]
    return [Example.whole(Encoded(block[:1], block[1:])) for block in blocks if len(block) > 1]


def _length_notices(shortened: int, dropped: int, last_alone: int, rows: int) -> list[str]:
    notices: list[str] = []
    if shortened:
        notices.append(f"{shortened} of {rows} prompts were shortened from the left (max_length)")
    if last_alone:
        notices.append(
            f"of {last_alone} of {rows} conversations only the last answer is learned: they are "
            "longer than max_length, or the chat template does not show each answer"
        )
    if dropped:
        notices.append(f"{dropped} of {rows} rows were left out: the response fills max_length")
    return notices
