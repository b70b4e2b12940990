"""The command line's options: each that is typed is used, or refused at once with why."""

import argparse
import json
from collections.abc import Sequence
from typing import Any, NoReturn

from workbench.errors import ConfigError, nearest
from workbench.settings import KINDS, RunSettings

SAMPLING = (
    *("batch_size", "chat_template_kwargs", "device", "dtype", "fold_system", "max_length"),
    *("quantization", "response_length", "seed", "temperature", "threads"),
)
"""The settings that change what is sampled, or how."""

SCORING = (
    *("chat_template_kwargs", "device", "dtype", "fold_system", "max_length"),
    *("micro_batch_tokens", "quantization", "threads"),
)
"""The settings that change scores, or how they are computed."""

_IN_PLACE = {  # a setting that does nothing unless another one is so
    "adaptive_kl_target": ("kl_control", "adaptive"),
    "adaptive_kl_horizon": ("kl_control", "adaptive"),
    "group_scale": ("advantage", "group"),
    "reward_std_coef": ("reward_reduce", "mean_minus_std"),
    **dict.fromkeys(
        ("gamma", "lam", "value", "value_coef", "value_clip_range", "value_learning_rate"),
        ("advantage", "gae"),
    ),
}
_INSTEAD = {"warmup_share": "warmup_steps"}  # counts where the other one is 0


class Parser(argparse.ArgumentParser):
    """A parser that takes an option once, whole, and says what a wrong one might have meant."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self.register("action", None, _Once)
        self.register("action", "store", _Once)

    def refuse_unknown(self, words: Sequence[str]) -> NoReturn:
        """End, as argparse does, at words that no option takes."""
        first = words[0].partition("=")[0]
        known = [name for action in self._actions for name in action.option_strings]
        begun = [name for name in known if name.startswith(first)]
        hint = nearest(first, begun or known)
        if first.startswith("-") and "--set" in known:
            names = [row["name"] for row in KINDS[self.get_default("kind") or "ppo"].table()]
            setting = first.lstrip("-").replace("-", "_")
            hint = nearest(setting, names, prefix="--set ") or hint
        self.error(f"nothing takes {' '.join(words)}. {hint}".rstrip(". "))


class _Once(argparse.Action):
    """Stores a value; a second one would take the place of the first, and is refused."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        options: tuple[str, ...] = getattr(namespace, "given", ())
        if option_string is not None and self.dest in options:
            parser.error(f"{option_string} is given twice; give it once")
        namespace.given = (*options, self.dest)
        setattr(namespace, self.dest, values)


def add_settings(command: argparse.ArgumentParser, kind: str | None = None) -> None:
    """``--set``; of a kind of run its help names the settings."""
    text = kind and f"settings: {', '.join(row['name'] for row in KINDS[kind].table())}"
    command.add_argument("--set", nargs="+", action="extend", default=[], metavar="k=v", help=text)


def typed_values(pairs: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """``k=v`` to values: JSON where it reads as JSON, text otherwise.

    Raises:
        ConfigError: an entry without ``=``, or a name that is given twice.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ConfigError(
                f"{pair!r} is not a setting", where=option, fix="write name=value, e.g. steps=20"
            )
        if name in values:
            raise ConfigError(
                f"{name} is given twice",
                where=f"{option} {name}={values[name]} and {pair}",
                fix="give it once",
            )
        try:
            values[name] = json.loads(value)
        except json.JSONDecodeError:
            values[name] = value
    return values


def settings_given(
    pairs: Sequence[str], kind: str, under: dict[str, Any] | None = None
) -> tuple[dict[str, Any], RunSettings]:
    """What ``--set`` says, and the settings that it makes.

    Args:
        pairs: as they were typed.
        kind: of run.
        under: what holds beneath them, such as a preset.

    Raises:
        ConfigError: an entry that is no setting, is given twice, or has a value it cannot have.
    """
    typed = typed_values(pairs)
    return typed, KINDS[kind].from_dict({**(under or {}), **typed})


def changes_in_words(
    typed: dict[str, Any], settings: RunSettings, used: Sequence[str] | None = None
) -> str:
    """Lines that say which settings differ from the defaults, and which of those given do nothing.

    Args:
        typed: by name, what was typed.
        settings: all of them.
        used: the names that count here; None for all.
    """
    rows = type(settings).table()
    values = settings.to_dict()
    counting = [row for row in rows if used is None or row["name"] in used]
    differing = [
        f"{row['name']} = {_typed(values[row['name']])} ({_typed(row['default'])})"
        for row in counting
        if values[row["name"]] != row["default"]
    ]
    lines = [f"settings that differ from the defaults: {', '.join(differing) or 'none'}"]
    for name in typed:
        why = "" if used is None or name in used else "this command does not use it"
        why = why or _idle(name, values)
        if why:
            lines.append(f"  without effect: {name} = {_typed(values[name])}: {why}")
    return "\n".join(lines)


def options_in_words(parser: argparse.ArgumentParser, args: argparse.Namespace) -> str:
    """A line that says which options differ from their defaults; empty where none does."""
    differing: list[str] = []
    for action in parser._actions:  # argparse has no other list of them
        default, value = action.default, getattr(args, action.dest, None)
        is_typed = not action.option_strings or action.required or action.dest in ("help", "set")
        if not is_typed and str(value) != str(default):  # a path's default is a text
            shown = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            usual = "" if default in (None, False) else f" ({default})"
            name = action.option_strings[0]
            differing.append(name if value is True else f"{name} {shown}{usual}")
    return f"options that differ from the defaults: {', '.join(differing)}" if differing else ""


def _idle(name: str, values: dict[str, Any]) -> str:
    """Why a setting that was given does nothing beside the others; empty where it does."""
    other, needed = _IN_PLACE.get(name, ("", None))
    if other in values and values[other] != needed:
        return f"it counts where {other} = {needed}"
    other = _INSTEAD.get(name, "")
    if name == "epochs" and values.get("steps") and "mini_batches" not in values:  # not PPO's
        other = "steps"
    if values.get(other):
        return f"{other} = {values[other]} is taken"
    return ""


def _typed(value: Any) -> str:
    """A value as it would be typed."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
