"""The model card of a ``final/`` folder: what it is, from what, how good, and how to load it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.settings import RunSettings

NAME = "README.md"
TITLES = {
    "sft": "A fine-tuned model",
    "reward": "A reward model",
    "dpo": "A policy trained by DPO",
    "online_dpo": "A policy trained by online DPO",
    "ppo": "A policy trained by PPO",
}
Figures = Mapping[str, float | int | str | None]


def write_card(
    folder: Path,
    *,
    facts: Mapping[str, Any],
    settings: RunSettings,
    data: Figures,
    figures: Figures,
    use: str,
) -> None:
    """Write the card.

    Args:
        folder: of the model.
        facts: ``base`` (folder or hub id), ``reference`` (as a person writes it), ``quantization``,
            ``dtype`` and ``notices`` of the base.
        settings: of the run.
        data: what it learned from.
        figures: what was measured of it.
        use: Python that loads it with transformers and peft alone.
    """
    kind = settings.kind
    reference = str(facts["reference"])
    quantization = str(facts["quantization"])
    known = {"nf4": "in 4 bits (NF4, double quantisation)", "none": "not quantised"}
    quantised = known.get(quantization, f"quantised as its files are ({quantization})")
    head = {"base_model": reference, "library_name": "peft", "tags": ["rlhf", kind]}
    parts = [
        "\n".join(["---", *(f"{name}: {json.dumps(v)}" for name, v in head.items()), "---"]),
        f"# {TITLES[kind]} on {reference}",
        "A LoRA adapter that the RLHF workbench trained; the base was frozen, "
        f"{quantised}, and computed in {facts['dtype']}.",
        "\n".join(f"- {notice}" for notice in facts["notices"]),
        section("Data", data),
        section("Evaluation", figures),
        "## Use",
        f"```python\n{use.strip()}\n```",
        section("Settings", _settings(settings)),
    ]
    (folder / NAME).write_text("\n\n".join(part for part in parts if part) + "\n")


def section(title: str, figures: Figures) -> str:
    """A heading and a table; nothing where there is no figure."""
    rows = [f"| {name} | {_cell(value)} |" for name, value in figures.items() if value is not None]
    return "\n".join([f"## {title}", "", "| | |", "|---|---|", *rows]) if rows else ""


def put_section(folder: Path, title: str, figures: Figures) -> None:
    """Put a section into the card of a model, in the place of the one of this title or at the end.

    Nothing happens where there is no card.
    """
    path = folder / NAME
    if not path.is_file():
        return
    before, heading, rest = path.read_text().partition(f"## {title}\n")
    after = rest[at:] if heading and (at := rest.find("\n## ")) >= 0 else ""
    path.write_text(f"{before.rstrip()}\n\n{section(title, figures)}\n{after}")


def _settings(settings: RunSettings) -> dict[str, Any]:
    """Every setting, and the default of what differs from it."""
    default = type(settings)().to_dict()
    cells: dict[str, Any] = {}
    for name, value in settings.to_dict().items():
        text = json.dumps(value)
        cells[name] = text if value == default[name] else f"{text} (default {default[name]})"
    return cells


def _cell(value: float | str | None) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


QUANTISED = """,
    quantization_config=BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.{dtype},{skip}
    ),
"""
SCORES = """
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig

folder = "."  # of this file
tokenizer = AutoTokenizer.from_pretrained(folder)
base = AutoModelForSequenceClassification.from_pretrained(
    {base!r}, num_labels=1, dtype=torch.{dtype}{quantised}
)
base.config.pad_token_id = tokenizer.pad_token_id
model = PeftModel.from_pretrained(base, folder).eval()

prompt, answer = {prompt!r}, {answer!r}
{encoded}
with torch.no_grad():
    raw = float(model(**given).logits[0, 0])
score = (raw - {mean!r}) / {std!r}  # mean 0, deviation 1
"""
ONE_TEXT = """messages = [{"role": "user", "content": prompt}]
text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
text += answer + tokenizer.eos_token
given = tokenizer(text, add_special_tokens=False, return_tensors="pt")"""
TWO_TEXTS = 'given = tokenizer(prompt, answer, return_tensors="pt")'
ANSWERS = """
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

folder = "."  # of this file
tokenizer = AutoTokenizer.from_pretrained(folder)
base = AutoModelForCausalLM.from_pretrained({base!r}, dtype=torch.{dtype}{quantised})
model = PeftModel.from_pretrained(base, folder).eval()

messages = [{{"role": "user", "content": {prompt!r}}}]
text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
given = tokenizer(text, add_special_tokens=False, return_tensors="pt")
answer = model.generate(**given, do_sample=True, top_k=0, max_new_tokens=64)
print(tokenizer.decode(answer[0, given["input_ids"].shape[1]:], skip_special_tokens=True))
"""


def how_to_score(
    facts: Mapping[str, Any], *, mean: float, std: float, two_texts: bool, skip: list[str]
) -> str:
    """Python that scores an answer; its base is quantised as in training."""
    encoded = TWO_TEXTS if two_texts else ONE_TEXT
    answer = "Apple, fig and plum."
    return _filled(SCORES, facts, skip, answer=answer, encoded=encoded, mean=mean, std=std)


def how_to_answer(facts: Mapping[str, Any]) -> str:
    """Python that answers a prompt."""
    return _filled(ANSWERS, facts, [])


def _filled(template: str, facts: Mapping[str, Any], skip: list[str], **more: Any) -> str:
    """A template with its base, quantised as in training but for ``skip``, and a prompt."""
    quantised, dtype = "", facts["dtype"]
    if facts["quantization"] == "nf4":
        names = f"\n        llm_int8_skip_modules={skip!r}," if skip else ""
        quantised = QUANTISED.format(dtype=dtype, skip=names).rstrip("\n").rstrip(",")
    known = {"base": facts["base"], "dtype": dtype, "quantised": quantised}
    return template.format(**known, prompt="List three fruits.", **more)
