"""Models kept loaded to answer one prompt at a time, token by token, for the playground."""

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import torch

from workbench.data.messages import as_messages
from workbench.models.base import Base, load_base
from workbench.models.encoding import Encoded, Encoder
from workbench.models.fast.decoding import decoder
from workbench.models.fast.dense_weights import dense
from workbench.models.roles import Roles
from workbench.models.sampling import sayable
from workbench.models.source import Source, resolve
from workbench.settings import PPOSettings
from workbench.training.batch_jobs import per_token_kl, sampled_batches, short_name
from workbench.training.optimiser import make_accelerator
from workbench.training.reward.attribution import taken_apart
from workbench.training.reward.scorer import Scorer

EVERY = 0.08  # seconds between two looks at a text that grows

_Tell = Callable[[dict[str, Any]], None]
Stopped = Callable[[], bool]


class Stage:
    """The models that were asked so far; those on one base share it."""

    def __init__(self) -> None:
        self._roles: dict[tuple[str, str, str, str], Roles] = {}
        self._names: dict[tuple[int, Path], str] = {}
        self._scorers: dict[tuple[str, str, str], Scorer] = {}

    @torch.no_grad()
    def play(self, values: dict[str, Any], tell: _Tell, stopped: Stopped) -> dict[str, Any]:
        """Answer one prompt with one model; or the best of several answers, by the reward model.

        Args:
            values: ``model``, ``prompt`` (messages), ``settings`` as in ``PPOSettings``,
                ``best_of`` and ``reward`` (None: no scores, and the first answer is the best).
            tell: told ``{"text"}`` as one answer grows, or ``{"done", "of"}`` of several; before
                and after it ``{"phase"}``, what takes the time.
            stopped: whether to end early.

        Returns:
            ``{"text", "ended", "pieces", "kl", "score", "scores"}``: the tokens' texts, the exact
            KL at each from what the model started from [nats], the score (None without a reward
            model), and all candidates' scores.
        """
        settings = PPOSettings.from_dict(values["settings"])
        source = resolve(values["model"])
        source.check_answers()
        if self._key(source, settings) not in self._roles:
            tell({"phase": f"loading {short_name(values['model'])}"})
        roles = self._on_base(source, settings)
        role = self._adapter(roles, source.adapter)
        encoder = Encoder.of(roles.base, settings)
        prompt = encoder.prompt(values["prompt"], room=settings.response_length)
        count = int(values.get("best_of") or 1)
        tell({"phase": "reading the prompt" if count == 1 else f"{count} answers side by side"})
        if count > 1:
            together = settings.changed(batch_size=count)
            (several,) = sampled_batches(roles, role, [prompt] * count, together)
            rows = [row.response for row in several]
            tell({"done": count, "of": count})
        else:
            rows = [self._one(roles, role, prompt, settings, tell, stopped)]
        texts = [encoder.decode(row) for row in rows]
        if values.get("reward") is not None:
            tell({"phase": f"scores by {short_name(values['reward'])}"})
        scores = self._scores(values, texts, settings)
        known = [float("-inf") if score is None else score for score in scores]
        best = known.index(max(known))
        row = Encoded(prompt, rows[best])
        start = self._adapter(roles, source.start)
        kl = per_token_kl(roles, role, row, settings, start=start) if rows[best] else []
        return {
            "text": texts[best],
            "ended": bool(row.response) and row.response[-1] in roles.base.eos_ids,
            "pieces": pieces(encoder, row.response),
            "kl": kl,
            "score": scores[best],
            "scores": scores,
        }

    @torch.no_grad()
    def explain(self, values: dict[str, Any], tell: _Tell, stopped: Stopped) -> dict[str, Any]:
        """Why one answer scores what it scores: an ``Attribution`` as plain values.

        Args:
            values: ``reward``, ``prompt`` (messages), ``response`` and ``settings``.
            tell: told ``{"phase"}``, what takes the time.
            stopped: not asked; it takes a second or two.

        Raises:
            DataError: the answer is so long that it has no score.
        """
        settings = PPOSettings.from_dict(values["settings"])
        tell({"phase": f"why, by {short_name(values['reward'])}"})
        scorer = self._scorer(values["reward"], settings)
        asked = [values["prompt"]], [values["response"]]
        (found,) = taken_apart(scorer, *asked, settings)
        return found._asdict()

    @staticmethod
    def _key(source: Source, settings: PPOSettings) -> tuple[str, str, str, str]:
        return source.base, source.tokenizer, settings.quantization, settings.dtype

    def _on_base(self, source: Source, settings: PPOSettings) -> Roles:
        key = self._key(source, settings)
        if key not in self._roles:
            make_accelerator(settings)
            self._roles[key] = Roles(load_base(source, settings), settings)
        return self._roles[key]

    def _adapter(self, roles: Roles, folder: Path | None) -> str | None:
        """The role of an adapter on this base, put there when it is first asked for; or of none."""
        if folder is None:
            return None
        key = (id(roles), folder)
        if key not in self._names:
            name = f"model{len(self._names)}"
            roles.add(name, trainable=False, source=folder)
            self._names[key] = name
        return self._names[key]

    def _one(
        self,
        roles: Roles,
        role: str | None,
        prompt: list[int],
        settings: PPOSettings,
        tell: _Tell,
        stopped: Stopped,
    ) -> list[int]:
        encoder, row, shown = Encoder.of(roles.base, settings), list[int](), 0.0
        with dense(roles, role):
            for token in tokens(roles.base, prompt, settings):
                row.append(token)
                if time.monotonic() - shown > EVERY:
                    shown = time.monotonic()
                    tell({"text": encoder.decode(row)})
                if stopped():
                    break
        return row

    def _scores(
        self, values: dict[str, Any], texts: list[str], settings: PPOSettings
    ) -> list[float | None]:
        if values.get("reward") is None:
            return [None] * len(texts)
        scorer = self._scorer(values["reward"], settings)
        encoder = scorer.encoder(settings)
        rows = [encoder.pair(values["prompt"], as_messages(text, "assistant")) for text in texts]
        usable = [row for row in rows if row is not None]
        scores = iter(scorer.scores(usable, tokens=settings.tokens_at_once) if usable else ())
        return [None if row is None else float(next(scores)) for row in rows]

    def _scorer(self, reward: str, settings: PPOSettings) -> Scorer:
        key = (str(reward), settings.quantization, settings.dtype)
        if key not in self._scorers:
            roles = Roles(load_base(resolve(key[0]), settings), settings)
            self._scorers[key] = Scorer.attach(key[0], roles, settings)
        return self._scorers[key]


def tokens(base: Base, prompt: list[int], settings: PPOSettings) -> Generator[int, None, None]:
    """Sample one answer under the acting role, a token at a time, EOS included where it comes."""
    generator = torch.Generator().manual_seed(settings.seed)
    row = decoder(base, [prompt], length=settings.response_length)
    drawn = torch.empty(0)
    for step in range(settings.response_length):
        logits = row.step(drawn.to(base.device)) if step else row.start()
        chances = torch.softmax(sayable(base, logits).float().cpu() / settings.temperature, dim=-1)
        drawn = torch.multinomial(chances, 1, generator=generator)[0]
        yield int(drawn)
        if int(drawn) in base.eos_ids:
            return


def pieces(encoder: Encoder, row: list[int]) -> list[str]:
    """What each token adds to the text."""
    texts: list[str] = []
    before = ""
    for end in range(1, len(row) + 1):
        now = encoder.text_of(row[:end])
        texts.append(now[len(before) :] if now.startswith(before) else now)
        before = now
    return texts
