"""What a person gives PPO as its reward, and how a run's config writes it down.

A source is a trained run; a Python function ``(prompts, responses) -> scores``; ``"module:name"``
of one; a list of runs, an ensemble; or a weighted mix of any of these. Functions are shipped into
the run folder as bytes that only the training process loads; their source is kept as text.
"""

import hashlib
import importlib
import inspect
import io
import json
import os
import re
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from workbench.errors import ConfigError, nearest
from workbench.plain_files import LARGEST_FUNCTION as LARGEST
from workbench.runs import Run
from workbench.training.written_source import written_source
from workbench.verbs.model_names import Model, check_model, model_name

_MODULE_AND_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


class ShippedReward(NamedTuple):
    """A reward as the config names it, and the files that go into the run folder with it."""

    spec: Any
    files: dict[str, bytes]


def ship_reward(reward: Any) -> ShippedReward:
    """Read what a person passed as a reward; an unfinished run among it is waited for.

    Returns:
        ``spec``: a model's name as a plain string, or ``{"function"}``, ``{"ensemble"}``,
        ``{"mix"}``; see :mod:`workbench.training.reward.reward_sources`, which builds them.

    Raises:
        ConfigError: it is none of these, or a function that cannot be shipped.
        ModelError: a model that is no reward model.
    """
    files: dict[str, bytes] = {}
    return ShippedReward(_spec(reward, files), files)


def check_reward(reward: Any) -> None:
    """Refuse a reward of which a model or a function does not exist; nothing is waited for.

    Raises:
        ConfigError: a function that cannot be imported.
        ModelError: a model that is no reward model, or no model at all.
    """
    if isinstance(reward, Mapping):
        for source in cast("Mapping[Any, Any]", reward):
            check_reward(source)
    elif isinstance(reward, list | tuple):
        for part in cast("Sequence[Any]", reward):
            check_reward(cast("Any", part)[1] if _is_weighted(part) else part)
    elif isinstance(reward, str) and _names_a_function(reward):
        _imported(reward)
    elif isinstance(reward, str | Path | Run):
        check_model(reward, "reward", "scores")


def _is_weighted(part: Any) -> bool:
    return isinstance(part, list | tuple) and len(cast("Sequence[Any]", part)) == 2


def _spec(reward: Any, files: dict[str, bytes]) -> Any:
    if isinstance(reward, Mapping):
        table = cast("Mapping[Any, Any]", reward)
        return _mix([(weight, source) for source, weight in table.items()], files)
    if isinstance(reward, list | tuple):
        parts = cast("Sequence[Any]", reward)
        if all(map(_is_weighted, parts)):
            return _mix(parts, files)
        return _ensemble(parts)
    if isinstance(reward, str) and _names_a_function(reward):
        return _imported(reward)
    if isinstance(reward, str | Path | Run):
        return _model(reward)
    if callable(reward):
        return _shipped(reward, files)
    raise ConfigError(
        f"a {type(reward).__name__} cannot be a reward",
        where="reward",
        fix="give a run of wb.train_reward, a function (prompts, responses) -> scores, its "
        "module:name, a list of runs (an ensemble), or {source: weight} (a mix)",
    )


# --- models ---------------------------------------------------------------------------------------


def _model(reward: Model) -> str:
    check_model(reward, "reward", "scores")
    return model_name(reward)


def _ensemble(members: Sequence[Any]) -> dict[str, Any]:
    if not members or not all(isinstance(member, str | Path | Run) for member in members):
        raise ConfigError(
            "an ensemble is a list of reward models",
            where=f"reward = {_short(members)}",
            fix="give runs of wb.train_reward; to add up other sources, give (weight, source)",
        )
    return {"ensemble": [_model(member) for member in members]}


def _mix(parts: Sequence[tuple[Any, Any]], files: dict[str, bytes]) -> dict[str, Any]:
    if not parts:
        raise ConfigError(
            "a mix of no rewards scores nothing",
            where="reward",
            fix="give {source: weight}, or a list of (weight, source)",
        )
    mixed: list[dict[str, Any]] = []
    for weight, source in parts:
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ConfigError(
                f"a weight is a number, and this is a {type(weight).__name__}",
                where=f"reward: {_short(source)}",
                fix="give {source: weight}, or a list of (weight, source)",
            )
        spec = _spec(source, files)
        if isinstance(spec, dict) and "mix" in spec:
            raise ConfigError(
                "a mix cannot hold another mix", where="reward", fix="give one flat list of parts"
            )
        mixed.append({"weight": float(weight), "source": spec})
    return {"mix": mixed}


# --- functions ------------------------------------------------------------------------------------


def _names_a_function(text: str) -> bool:
    named = _MODULE_AND_NAME.fullmatch(text) is not None
    return named and not text.startswith("builtin:") and not Path(text).exists()


def _imported(reference: str) -> dict[str, Any]:
    """A function by its ``module:name``: imported again by the training process."""
    module_name, _, name = reference.partition(":")
    here, names = str(Path.cwd()), list[str]()
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
        function: Any = module
        for part in name.split("."):
            names = dir(function)
            function = getattr(function, part)
    except Exception as error:
        raise ConfigError(
            f"the reward function cannot be imported ({type(error).__name__}: {error})",
            where=reference,
            fix=f"{_nearest_function(module_name, name, names)}write module:name, "
            "with the module installed or in the folder you start from",
        ) from error
    finally:
        if added:
            sys.path.remove(here)
    _check_callable(function, reference)
    spec: dict[str, Any] = {"function": reference, "source": written_source(function)}
    if _is_local(module):
        top = sys.modules[module_name.partition(".")[0]]
        file = Path(str(top.__file__)).absolute()
        spec["path"] = str(file.parents[1] if file.name == "__init__.py" else file.parent)
    return {"function": spec}


def _nearest_function(module: str, name: str, names: Sequence[str]) -> str:
    """What a mistyped ``module:name`` was meant to be: a name of the module, or a file here."""
    if names:
        return nearest(name.rpartition(".")[2], names)
    return nearest(module, [file.stem for file in Path.cwd().glob("*.py")])


def _shipped(function: Callable[..., Any], files: dict[str, bytes]) -> dict[str, Any]:
    """A function that the kernel holds: as bytes beside the config, which keeps its source."""
    name = _name(function)
    _check_callable(function, name)
    packed = _packed(function, name)
    number = len(files) + 1
    file = "reward.pkl" if number == 1 else f"reward-{number}.pkl"
    files[file] = packed
    captured = {key: _as_json(value) for key, value in _captured(function).items()}
    about = {"sha256": hashlib.sha256(packed).hexdigest()}
    about |= {"source": written_source(function), "captured": captured}
    return {"function": {"function": name, "file": file, **about}}


def _check_callable(function: Any, name: str) -> None:
    where = f"reward function {name}"
    if not callable(function):
        raise ConfigError(
            f"this is a {type(function).__name__}, and no function",
            where=where,
            fix="name a function (prompts, responses) -> scores",
        )
    try:
        signature = inspect.signature(function)
    except ValueError:
        return  # some built-ins tell none
    try:
        signature.bind([], [])
    except TypeError as error:
        raise ConfigError(
            f"a reward function takes (prompts, responses): {error}",
            where=where,
            fix="prompts are lists of messages, responses texts; return one number for each",
        ) from error


def _packed(function: Callable[..., Any], name: str) -> bytes:
    import cloudpickle  # pyright: ignore[reportMissingTypeStubs]

    try:
        with _local_modules_by_value():
            packed = cast("bytes", cloudpickle.dumps(function))  # pyright: ignore
    except Exception as error:
        held = [key for key, value in _captured(function).items() if not _can_be_packed(value)]
        holder = f"it uses {', '.join(held)}" if held else "something that it uses"
        raise ConfigError(
            f"the reward function cannot be shipped to the run's process: {error}",
            where=f"{name}: {holder}",
            fix="make inside the function what cannot be copied (a model, an open file, a lock), "
            "or put the function in a module and give 'module:name'",
        ) from error
    if len(packed) > LARGEST:
        raise ConfigError(
            f"the reward function carries {len(packed) / 2**20:.0f} MB with it",
            where=f"{name}: it uses {', '.join(_captured(function)) or 'nothing by name'}",
            fix="read large data inside the function, from a file",
        )
    return packed


def _can_be_packed(value: Any) -> bool:
    import cloudpickle  # pyright: ignore[reportMissingTypeStubs]

    try:
        cloudpickle.dumps(value)  # pyright: ignore
    except Exception:
        return False
    return True


@contextmanager
def _local_modules_by_value() -> Iterator[None]:
    """Within the block, code from modules that are not installed is shipped as a whole.

    The run's process may start elsewhere, also months later: what lies beside a notebook is not
    importable there.
    """
    import cloudpickle  # pyright: ignore[reportMissingTypeStubs]

    known: Any = cloudpickle
    local = [module for module in list(sys.modules.values()) if _is_local(module)]
    registered = known.list_registry_pickle_by_value()
    ours = [module for module in local if module.__name__ not in registered]
    for module in ours:
        known.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in ours:
            known.unregister_pickle_by_value(module)


def _is_local(module: Any) -> bool:
    """Whether a module is a person's own file: neither installed, nor Python's, nor ours."""
    if not isinstance(module, types.ModuleType):
        return False
    top = module.__name__.partition(".")[0]
    file = getattr(module, "__file__", None)
    if not file or top in ("__main__", "workbench") or sys.modules.get(module.__name__) != module:
        return False
    return os.path.isfile(file) and not os.path.abspath(file).startswith(_installed())


@cache
def _installed() -> tuple[str, ...]:
    """Where Python's own modules and installed ones are; asked of every module there is."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({os.path.abspath(sysconfig.get_path(name)) + os.sep for name in names})


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _captured(function: "Callable[..., Any] | partial[Any]") -> dict[str, Any]:
    """What it uses from outside itself, by name; modules left out."""
    if isinstance(function, types.FunctionType):
        known, code = function.__globals__, function.__code__
        used = {name: known[name] for name in sorted(_names(code)) if name in known}
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            with suppress(ValueError):  # not filled yet
                used[name] = cell.cell_contents
        if function.__defaults__:
            used["its defaults"] = function.__defaults__
        return {k: v for k, v in used.items() if not isinstance(v, types.ModuleType)}
    if isinstance(function, partial):
        return {"func": function.func, "args": function.args, "keywords": function.keywords}
    owner = getattr(function, "__self__", function)
    return dict(getattr(owner, "__dict__", {}))


def _names(code: types.CodeType) -> set[str]:
    """Names that a function's code looks up, comprehensions and inner functions included."""
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _as_json(value: Any) -> Any:
    """A captured value as the config shows it, the same for the same value in any process."""
    if callable(value):
        return written_source(value) or _name(value)
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        pass
    if isinstance(value, set | frozenset):
        return sorted(map(repr, cast("set[Any]", value)))
    return f"{type(value).__name__} {hashlib.sha256(_stable(value)).hexdigest()[:12]}"


def _stable(value: Any) -> bytes:
    import cloudpickle  # pyright: ignore[reportMissingTypeStubs]

    packed = io.BytesIO()
    cloudpickle.dump(value, packed)  # pyright: ignore
    return packed.getvalue()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
