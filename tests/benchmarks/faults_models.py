"""Hostile and damaged model folders: each is told within 25 s, or works; none runs anything.

``python tests/benchmarks/faults_models.py`` makes :data:`FOLDERS` from a tiny model, an adapter and
a reward model, and asks each, in a process of its own, to answer and to score, as a job does.
``faults.py`` calls :func:`model_folders`.
"""

import json
import math
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from trials import outcomes  # noqa: E402

Spoil = Callable[[Path], Any]


class Shell:
    """Unpickled, it would leave a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.mark, "w")


def changed(name: str, **values: Any) -> Spoil:
    """Other values in a JSON file of the folder; None takes a name away."""

    def spoil(folder: Path) -> None:
        file = folder / name
        known = json.loads(file.read_text()) if file.exists() else {}
        known |= values
        file.write_text(json.dumps({k: v for k, v in known.items() if v is not None}))

    return spoil


def text(name: str, content: str | bytes) -> Spoil:
    """Another content of a file."""
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def gone(*names: str) -> Spoil:
    """Files that are not there."""
    return lambda folder: [(folder / name).unlink() for name in names]


def cut(name: str) -> Spoil:
    """Half of a file."""
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def template(source: str) -> Spoil:
    """Another chat template."""
    return text("chat_template.jinja", source)


def pattern(regex: str) -> Spoil:
    """A tokenizer that replaces a pattern before it reads."""

    def spoil(folder: Path) -> None:
        table = json.loads((folder / "tokenizer.json").read_text())
        bomb = {"type": "Replace", "pattern": {"Regex": regex}, "content": "x"}
        (folder / "tokenizer.json").write_text(json.dumps({**table, "normalizer": bomb}))

    return spoil


def weights(name: str, value: float) -> Spoil:
    """A weights file in which every number is another."""

    def spoil(folder: Path) -> None:
        import torch
        from safetensors.torch import load_file, save_file

        tensors = {key: torch.full_like(t, value) for key, t in load_file(folder / name).items()}
        save_file(tensors, folder / name, metadata={"format": "pt"})

    return spoil


def pickled(safe: str, name: str) -> Spoil:
    """A pickle in the place of safetensors."""

    def spoil(folder: Path) -> None:
        import torch

        (folder / safe).unlink()
        mark = folder.parent / "canary"
        torch.save({"weight": Shell(mark)}, folder / name)
        (folder / f"plain-{name}").write_bytes(pickle.dumps(Shell(mark)))

    return spoil


def own_python(folder: Path) -> None:
    """A model that brings Python of its own."""
    mark = str(folder.parent / "canary")
    (folder / "evil.py").write_text(f"open({mark!r}, 'w')\nclass E: pass\n")
    auto = {"AutoConfig": "evil.E", "AutoModelForCausalLM": "evil.E", "AutoTokenizer": "evil.E"}
    changed("config.json", auto_map=auto, model_type="evil")(folder)
    changed("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.E", None]})(folder)


def names_itself(folder: Path) -> None:
    changed("adapter_config.json", base_model_name_or_path=str(folder))(folder)
    (folder / "workbench.json").unlink()


def name_each_other(folder: Path) -> None:
    other = folder.with_name(f"{folder.name}-other")
    shutil.copytree(folder, other)
    for one, base in ((folder, other), (other, folder)):
        changed("adapter_config.json", base_model_name_or_path=str(base))(one)
        (one / "workbench.json").unlink()


def ensemble(members: Any, *there: int) -> Spoil:
    """A reward model that says it has so many members, of which some are there."""

    def spoil(folder: Path) -> None:
        aside = folder.with_name(f"{folder.name}-one")
        folder.rename(aside)
        folder.mkdir()
        for index in there:
            shutil.copytree(aside, folder / f"member-{index}")
        (folder / "reward.json").write_text(json.dumps({"members": members}))

    return spoil


NESTED = "[" * 200_000
LOOPS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
ESCAPE = "{{ cycler.__init__.__globals__.os.system('touch canary') }}"
FOLDERS: dict[str, tuple[str, Spoil]] = {
    # whole models
    "auto-map": ("model", own_python),
    "pickled-weights": ("model", pickled("model.safetensors", "pytorch_model.bin")),
    "weights-cut": ("model", cut("model.safetensors")),
    "weights-gone": ("model", gone("model.safetensors")),
    "weights-garbage": ("model", text("model.safetensors", b"\xff" * 4096)),
    "weights-nan": ("model", weights("model.safetensors", math.nan)),
    "weights-header-huge": ("model", text("model.safetensors", b"\xff" * 7 + b"\x00{}")),
    "config-empty": ("model", text("config.json", "")),
    "config-list": ("model", text("config.json", "[1]")),
    "config-nested": ("model", text("config.json", NESTED)),
    "config-no-type": ("model", changed("config.json", model_type=None)),
    "config-type-list": ("model", changed("config.json", model_type=["llama"])),
    "config-kind-list": ("model", changed("config.json", kind=["ppo"])),
    "config-layers": ("model", changed("config.json", num_hidden_layers=10**9)),
    "config-layers-text": ("model", changed("config.json", num_hidden_layers="two")),
    "config-width": ("model", changed("config.json", hidden_size=2**40)),
    "config-width-odd": ("model", changed("config.json", hidden_size=7)),
    "config-vocabulary": ("model", changed("config.json", vocab_size=10**12)),
    "config-negative": ("model", changed("config.json", num_attention_heads=-2)),
    "config-zero-heads": ("model", changed("config.json", num_attention_heads=0)),
    "template-endless": ("model", template(LOOPS)),
    "template-power": ("model", template("{{ 9 ** 9 ** 9 }}")),
    "template-recursive": (
        "model",
        template("{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}"),
    ),
    "template-huge": ("model", template("{{ 'x' * 300000000 }}")),
    "template-escape": ("model", template(ESCAPE)),
    "template-subclasses": ("model", template("{{ ''.__class__.__mro__[1].__subclasses__() }}")),
    "template-include": ("model", template("{% include '/etc/passwd' %}")),
    "template-syntax": ("model", template("{% for %}")),
    "template-divides": ("model", template("{{ 1 / 0 }}")),
    "template-silent": ("model", template("nothing of what was said")),
    "template-trap": (
        "model",
        template("{% for m in messages %}{{ m['content'] }} <eos> {% endfor %}"
                 "{% if 'a b' in messages[0]['content'] %}" + LOOPS + "{% endif %}"),
    ),
    "tokenizer-bomb": ("model", pattern("([ab<> a-z]+)+$(?<=X)")),
    "tokenizer-bomb-2": ("model", pattern("(.|.)*Q")),
    "tokenizer-bomb-broken": ("model", pattern("(")),
    "tokenizer-empty": ("model", text("tokenizer.json", "")),
    "tokenizer-nested": ("model", text("tokenizer.json", NESTED)),
    "tokenizer-gone": ("model", gone("tokenizer.json")),
    "tokenizer-class": (
        "model",
        changed("tokenizer_config.json", tokenizer_class="os.system"),
    ),
    "tokenizer-config-list": ("model", text("tokenizer_config.json", "[]")),
    "generation-odd": (
        "model",
        changed("generation_config.json", eos_token_id="x", temperature=math.nan),
    ),
    # adapters
    "adapter-names-itself": ("adapter", names_itself),
    "adapters-name-each-other": ("adapter", name_each_other),
    "adapter-base-gone": (
        "adapter",
        lambda folder: (gone("workbench.json")(folder),
                        changed("adapter_config.json", base_model_name_or_path="/nowhere")(folder)),
    ),
    "adapter-rank": ("adapter", changed("adapter_config.json", r=10**7)),
    "adapter-rank-text": ("adapter", changed("adapter_config.json", r="many")),
    "adapter-rank-pattern": ("adapter", changed("adapter_config.json", rank_pattern={"q": 10**7})),
    "adapter-targets-bomb": (
        "adapter",
        changed("adapter_config.json", target_modules="(([a-z0-9_.])+)+X"),
    ),
    "adapter-targets-odd": ("adapter", changed("adapter_config.json", target_modules=[3])),
    "adapter-kind": ("adapter", changed("adapter_config.json", peft_type="../../evil")),
    "adapter-pickled": ("adapter", pickled("adapter_model.safetensors", "adapter_model.bin")),
    "adapter-cut": ("adapter", cut("adapter_model.safetensors")),
    "adapter-config-nested": ("adapter", text("adapter_config.json", NESTED)),
    "adapter-card-list": ("adapter", text("workbench.json", "[1]")),
    # reward models
    "reward-members": ("reward", ensemble(10**9, 0)),
    "reward-members-text": ("reward", ensemble("two", 0)),
    "reward-member-gone": ("reward", ensemble(3, 0, 1)),
    "reward-std-zero": ("reward", changed("reward.json", std=0)),
    "reward-std-nan": ("reward", text("reward.json", '{"mean": 0, "std": NaN}')),
    "reward-std-negative": ("reward", changed("reward.json", std=-1.5)),
    "reward-mean-text": ("reward", changed("reward.json", mean="high")),
    "reward-mean-infinite": ("reward", text("reward.json", '{"mean": 1e999, "std": 1}')),
    "reward-nested": ("reward", text("reward.json", NESTED)),
    "reward-head-nan": ("reward", weights("adapter_model.safetensors", math.nan)),
    "reward-head-infinite": ("reward", weights("adapter_model.safetensors", 3e38)),
}  # fmt: skip


def make(place: Path) -> list[Path]:
    """The folders, each a copy of a sound one, spoiled."""
    from tests.models.tiny import make_model
    from tests.training.conftest import make_adapter

    sound = {"model": make_model(place / "model")}
    for index, kind in enumerate(("adapter", "reward")):
        folder = place / kind
        folder.mkdir()
        sound[kind] = make_adapter(folder, sound["model"], index, reward=kind == "reward")
    folders: list[Path] = []
    for name, (kind, spoil) in FOLDERS.items():
        folder = Path(shutil.copytree(sound[kind], place / "spoiled" / name))
        spoil(folder)
        folders.append(folder)
    return folders


def use(folder: Path, kind: str) -> str:
    """Answer or score with a model as a job does: "answered", "told", "silent", or what was raw."""
    from workbench.child import do_job
    from workbench.errors import WorkbenchError

    settings = {"quantization": "none", "device": "cpu", "max_length": 64, "response_length": 4}
    prompt = [{"role": "user", "content": "a b"}]
    given: dict[str, Any] = {"prompts": [prompt] * 2, "settings": settings}
    try:
        if kind == "reward":
            asked = {"reward": str(folder), "responses": ["a", "b c"], **given}
            found = do_job("scores", asked, lambda *_: None)["scores"]
        else:
            asked = {"models": [str(folder)], **given}
            found = do_job("answers", asked, lambda *_: None)["answers"]
    except WorkbenchError as error:
        return "told" if error.what and error.fix else f"a bare {error!r}"
    except BaseException as error:
        return f"raw {type(error).__name__}: {str(error)[:200]}"
    return "silent NaN" if "nan" in repr(found) or "inf" in repr(found) else "answered"


def _try_one(value: tuple[str, str, str]) -> str:
    place, folder, kind = value
    os.chdir(place)
    return use(Path(folder), kind)


def model_folders() -> dict[str, Any]:
    """Make the folders and use each.

    Returns:
        ``folders``, ``answered``, ``told``, ``raw``, ``hung``, ``silent``, ``ran_code``, and
        ``faults``: one line for each that was not told and did not answer.
    """
    with tempfile.TemporaryDirectory(prefix="workbench-faults-") as name:
        place = Path(name)
        tried = outcomes(
            _try_one,
            [(made.name, (name, str(made), FOLDERS[made.name][0])) for made in make(place)],
            sound=((name, str(place / "reward"), "reward"), "answered"),
            fine=("answered", "told"),
            amiss=("hung", "silent"),
        )
        ran_code = len(list(place.rglob("canary")))
    return {"folders": len(FOLDERS), "ran_code": ran_code, **tried}


if __name__ == "__main__":
    found = model_folders()
    print(json.dumps(found))
    sys.exit(int(bool(found["faults"] or found["ran_code"])))
