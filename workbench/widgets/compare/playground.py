"""The playground: one prompt, several models and temperatures, answers as they grow."""

import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from workbench.data.pairs import Pair
from workbench.data.store.label_events import LabelEvent
from workbench.errors import ConfigError, DataError
from workbench.settings import PPOSettings
from workbench.widgets.kit.loaded_widget import LoadedWidget
from workbench.widgets.kit.wire import fault, incoming, outgoing, outgoing_messages

if TYPE_CHECKING:
    from workbench.data.store.labels import LabelStore

MOST_COLUMNS = 8
MOST_ANSWERS = 64  # of which the best is chosen
MOST_PROMPT = 20_000  # characters

Ask = Callable[[Mapping[str, Any], Callable[[dict[str, Any]], None]], dict[str, Any]]


class Playground(LoadedWidget):
    """Answers of several models to one prompt, side by side, each with its score and its KL.

    The page asks for the state, often while there is something to come; nothing is pushed, so a
    reload or a second view shows the same. The models answer one after another, in a thread.

    Args:
        models: their names on screen, and what the worker calls them.
        ask: asks the worker: a request and what is called with each event; returns the answer.
        explain: asks the worker why an answer has its score; None offers no reasons.
        stop: ends the answer that is growing.
        reward: what the worker calls the reward model; None shows no scores.
        store: where preferences and sent pairs go; None offers neither.
        annotator: whose they are.
        settings: of sampling, as plain values; temperature and seed are set here.

    Raises:
        ConfigError: no model, or too many.
    """

    _script = "widgets/compare/playground.js"
    _styles = ("widgets/compare/playground.css",)

    def __init__(
        self,
        models: Mapping[str, str],
        ask: Ask,
        *,
        explain: Ask | None = None,
        stop: Callable[[], None] = lambda: None,
        reward: str | None = None,
        store: "LabelStore | None" = None,
        annotator: str = "me",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if not 1 <= len(models) <= MOST_COLUMNS:
            raise ConfigError(
                f"a playground of {len(models)} models cannot be shown",
                where="wb.playground",
                fix=f"give 1 to {MOST_COLUMNS} models",
            )
        super().__init__()
        self.models, self.reward, self.store = dict(models), reward, store
        self.annotator, self.settings = annotator, dict(settings or {})
        self.columns: list[dict[str, Any]] = []
        self.prompt, self.system = "", ""
        self.turns: list[dict[str, str]] = []  # of the conversation before the prompt
        self.length = int(self.settings.get("response_length", PPOSettings().response_length))
        self.seed = int(self.settings.get("seed", 0))
        self._ask, self._explain, self._stop = ask, explain, stop
        self._guard = threading.RLock()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._words = ""
        self._serial = 0

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come."""
        return self._thread is not None and self._thread.is_alive()

    def play(
        self,
        prompt: str,
        temperatures: Sequence[float] = (1.0,),
        best_of: int = 1,
        *,
        system: str | None = None,
        length: int | None = None,
    ) -> threading.Thread:
        """Begin to answer a prompt: with each model at each temperature, in a thread.

        Args:
            prompt: what is asked.
            temperatures: 0.05 to 5.
            best_of: answers of which the reward model chooses one.
            system: what stands before the conversation; None leaves it as it is.
            length: most tokens of an answer; None leaves it as it is.

        Raises:
            DataError: the prompt is empty, or the last one is still being answered.
            ConfigError: a length, a temperature or a number of answers that cannot be, or too many
                columns.
        """
        with self._guard:
            self._check(prompt, temperatures, best_of)
            length = self.length if length is None else length
            PPOSettings.from_dict({**self.settings, "response_length": length})
            self.prompt, self.length = prompt, length
            self.system = self.system if system is None else system
            self.columns = [
                {
                    **{"model": name, "temperature": t, "best_of": best_of, "text": ""},
                    **{"state": "waits", "phase": ""},
                }
                for name, t in product(self.models, temperatures)
            ]
            self._stopping, self._words = False, ""
            self._serial += 1
            self._thread = threading.Thread(target=self._answer_all, daemon=True)
            self._thread.start()
            return self._thread

    def why(self, columns: Sequence[int]) -> threading.Thread:
        """Begin to take answers apart: which tokens their reward scores come from, in a thread.

        Raises:
            DataError: none of these columns has a score, or an answer is still to come.
        """
        with self._guard:
            chosen = [self.columns[at] for at in columns if 0 <= at < len(self.columns)]
            chosen = [column for column in chosen if column.get("score") is not None]
            if self.busy or self._explain is None or not chosen:
                raise DataError(
                    "there is no score to explain",
                    where="wb.playground",
                    fix="give reward=, and wait until the answer is there",
                )
            self._stopping = False
            self._serial += 1
            self._thread = threading.Thread(target=self._explain_all, args=[chosen], daemon=True)
            self._thread.start()
            return self._thread

    def stop(self) -> None:
        """End what is being answered; what is there stays."""
        self._stopping = True
        self._stop()

    def go_on(self, column: int) -> None:
        """Take a column's answer as the model's turn: the next prompt goes on from there.

        Raises:
            DataError: there is no such answer yet.
        """
        with self._guard:
            answered = self.columns[column : column + 1]
            if self.busy or not answered or not answered[0]["text"]:
                raise DataError(
                    "there is no answer to go on from",
                    where="wb.playground",
                    fix="wait until it is there",
                )
            self.turns += [
                {"role": "user", "content": self.prompt},
                {"role": "assistant", "content": answered[0]["text"]},
            ]
            self.prompt, self.columns = "", []
            self._note("")

    def start_anew(self) -> None:
        """Forget the turns so far; the next prompt begins a conversation."""
        with self._guard:
            self.turns, self.columns = [], [] if not self.busy else self.columns
            self._note("")

    def messages(self) -> list[dict[str, str]]:
        """The conversation up to the prompt, as the models see it."""
        system = [{"role": "system", "content": self.system}] if self.system.strip() else []
        return [*system, *self.turns, {"role": "user", "content": self.prompt}]

    def prefer(self, column: int) -> bool:
        """Say that a column's answer is the best one: a label in the store.

        Returns:
            False where this answer was preferred already.

        Raises:
            DataError: there is no store, or nothing else to prefer it to.
        """
        with self._guard:
            pair, texts = self._pair(), self._texts()
            store = self._store()
            winner = texts.index(self.columns[column]["text"])
            label = {"kind": "choice", "winner": winner, "strength": None}
            payload = {"label": label, "choice": column, "reason": "playground"}
            event_id = f"playground-{pair.id}-{winner}-{self.annotator}"
            new = store.append(
                LabelEvent("label", pair.id, self.annotator, payload, event_id), pair
            )
            for index, other in enumerate(self.columns):
                other["preferred"] = index == column
            self._note("Saved: this answer is the better one." if new else "Saved already.")
            return new

    def send_to_labeller(self) -> bool:
        """Send the answers to the labeller's queue, to be judged blind; False where they wait.

        Raises:
            DataError: there is no store, or there are no two different answers.
        """
        with self._guard:
            new = self._store().send(self._pair(), self.annotator, "playground")
            self._note(
                "Sent to the labeller." if new else "It waits there already, or is labelled."
            )
            return new

    # --- answering

    def _answer_all(self) -> None:
        for column in self.columns:
            if self._stopping:
                self._put(column, state="stopped")
                continue
            self._put(column, state="answers", phase="starting the models' process")
            try:
                answer = self._ask(self._request(column), lambda e, c=column: self._grow(c, e))
            except Exception as error:  # shown in its place; the other models still answer
                self._put(column, state="failed", fault=fault(error))
                continue
            self._put(column, **answer, state="done")

    def _explain_all(self, columns: Sequence[dict[str, Any]]) -> None:
        assert self._explain is not None
        for column in columns:
            if self._stopping or "parts" in column.get("why", {}):
                continue
            request = {**self._request(column), "response": column["text"]}
            self._put(column, why={"phase": "starting the models' process"})
            try:
                told = self._explain(request, lambda e, c=column: self._put(c, why={**e}))
            except Exception as error:  # shown in its place
                told = {"fault": fault(error)}
            self._put(column, why=told)

    def _request(self, column: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "model": self.models[column["model"]],
            "prompt": self.messages(),
            "settings": {
                **self.settings,
                "response_length": self.length,
                "temperature": column["temperature"],
                "seed": self.seed,
            },
            "best_of": column["best_of"],
            "reward": self.reward,
        }

    def _grow(self, column: dict[str, Any], event: Mapping[str, Any]) -> None:
        self._put(column, **{name: event[name] for name in ("text", "phase") if name in event})

    def _put(self, column: dict[str, Any], **values: Any) -> None:
        with self._guard:
            column.update(values)
            self._serial += 1

    # --- the pair that the answers make

    def _texts(self) -> list[str]:
        done = [c["text"] for c in self.columns if c["state"] == "done" and c["text"]]
        return list(dict.fromkeys(done))

    def _pair(self) -> Pair:
        texts = self._texts()
        if len(texts) < 2:
            raise DataError(
                "a preference needs two different answers",
                where="wb.playground",
                fix="give two models or temperatures, or ask again for other answers",
            )
        models = {
            f"{c['model']} at {c['temperature']:g}": texts.index(c["text"])
            for c in self.columns
            if c["text"] in texts
        }
        responses: Any = [[{"role": "assistant", "content": text}] for text in texts]
        prompt: Any = self.messages()
        source = {"dataset": "playground"}
        return Pair.make(prompt, responses, source=source, meta={"models": models})

    def _store(self) -> "LabelStore":
        if self.store is None:
            raise DataError(
                "there is no label store to put it into",
                where="wb.playground",
                fix="give store=wb.LabelStore('labels.sqlite')",
            )
        return self.store

    # --- the page

    def _answer_page(self, content: dict[str, Any]) -> dict[str, Any]:
        try:
            self._do(content)
        except Exception as error:
            self.error, parts = error, fault(error)
            self._note(f"{parts['what']}. {parts['fix']}")
        return self.state()

    def _do(self, content: Mapping[str, Any]) -> None:
        kind = content.get("type")
        if kind == "ask":
            self.seed += bool(content.get("again"))
            prompt = incoming(content.get("prompt"), MOST_PROMPT)
            temperatures = [float(t) for t in content.get("temperatures") or [1.0]]
            system = content.get("system")
            self.play(
                prompt,
                temperatures,
                int(content.get("best_of") or 1),
                system=None if system is None else incoming(system, MOST_PROMPT),
                length=None if content.get("length") is None else int(content["length"]),
            )
        elif kind == "why":
            self.why([int(at) for at in content.get("columns") or []])
        elif kind == "stop":
            self.stop()
        elif kind == "prefer":
            self.prefer(int(content.get("column", 0)))
        elif kind == "go_on":
            self.go_on(int(content.get("column", 0)))
        elif kind == "anew":
            self.start_anew()
        elif kind == "queue":
            self.send_to_labeller()

    def _note(self, words: str) -> None:
        self._words = words
        self._serial += 1

    def state(self) -> dict[str, Any]:
        """What the page shows."""
        with self._guard:
            return {
                "type": "state",
                "serial": self._serial,
                "busy": self.busy,
                "prompt": outgoing(self.prompt),
                "system": outgoing(self.system),
                "length": self.length,
                "turns": outgoing_messages(self.turns, cut=None),
                "models": [outgoing(name) for name in self.models],
                "scored": self.reward is not None,
                "explains": self._explain is not None,
                "stored": self.store is not None,
                "said": outgoing(self._words),
                "columns": [_travelling(column) for column in self.columns],
            }

    def _check(self, prompt: str, temperatures: Sequence[float], best_of: int) -> None:
        if not prompt.strip():
            raise DataError("there is no prompt", where="wb.playground", fix="write one")
        if self.busy:
            raise DataError(
                "the last prompt is still being answered",
                where="wb.playground",
                fix="stop it first, or wait",
            )
        columns = len(self.models) * len(set(temperatures))
        if not temperatures or not all(0.05 <= t <= 5.0 for t in temperatures):
            raise ConfigError(
                f"temperatures cannot be {list(temperatures)}",
                where="wb.playground",
                fix="give one or more, from 0.05 to 5",
            )
        if columns > MOST_COLUMNS:
            raise ConfigError(
                f"{columns} answers are more than fit side by side",
                where="wb.playground",
                fix=f"ask for {MOST_COLUMNS} or fewer: fewer models, or fewer temperatures",
            )
        if not 1 <= best_of <= MOST_ANSWERS or (best_of > 1 and self.reward is None):
            raise ConfigError(
                f"the best of {best_of} answers cannot be chosen",
                where="wb.playground",
                fix=f"ask for 1 to {MOST_ANSWERS}, and give reward= to choose the best",
            )


def _travelling(column: Mapping[str, Any]) -> dict[str, Any]:
    pieces = [outgoing(piece) for piece in column.get("pieces", ())]
    texts = {name: outgoing(column[name]) for name in ("model", "text")}
    why = {**column.get("why", {})}
    if "texts" in why:
        why["texts"] = [outgoing(text) for text in why["texts"]]
    more = {name: value for name, value in (("pieces", pieces), ("why", why)) if value}
    return {**column, **texts, **more}
