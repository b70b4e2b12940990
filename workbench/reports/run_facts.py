"""What a report says of a run besides its curves: its data, its evaluations, where it ran."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from itertools import islice
from typing import Any

from workbench.errors import RunError, first_line
from workbench.html_table import Html, table
from workbench.json_lines import read_json
from workbench.runs import RunFolder
from workbench.runs.file_rules import MOST_CONFIG
from workbench.runs.housekeeping import EVALUATION
from workbench.widgets.kit.texts import abridged, as_text
from workbench.widgets.run_panel.run_feed import RunFeed

EXAMPLES = 3
MOST_LETTERS = 600  # of one text of an example
MOST_FIELDS = 40  # of one example

FACT_TABLE = "class='figures'"  # attributes of a table of facts


def run_facts(folder: RunFolder) -> str:
    """Data, evaluations and machine of a run, each folded away under what it is."""
    config = folder.config()
    parts = (_data(folder, config), _evaluations(folder), _machine(config))
    return "".join(part for part in parts if part)


def answers_between(before: RunFeed, after: RunFeed) -> list[dict[str, Any]]:
    """The first answers of one run beside the last of another, on the prompts that both have.

    Args:
        before: the run whose first sampled answers stand left.
        after: the run whose last ones stand right; may be the same.
    """
    one, two = _by_prompt(before.answers_at(0)), _by_prompt(after.answers_at(-1))
    return [
        {
            "prompt": two[key].get("prompt"),
            "answers": [_answer(before.folder, one[key]), _answer(after.folder, two[key])],
        }
        for key in two
        if key in one
    ]


def _by_prompt(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {json.dumps(row.get("prompt")): row for row in rows if "response" in row}


def _answer(folder: RunFolder, row: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: row[name] for name in ("score", "gold", "kl") if row.get(name) is not None}
    return {"model": f"{folder.name}, step {row['step']}", "text": as_text(row["response"]), **kept}


def _data(folder: RunFolder, config: Mapping[str, Any]) -> str:
    known = config.get("data") or {}
    try:
        examples = "".join(map(_example, islice(folder.data_rows(), EXAMPLES)))
    except RunError as error:
        examples = f"<p>{escape(first_line(error))}</p>"
    rows = f"{known.get('rows') or 0:,} rows"
    return (
        f"<details><summary>Data ({rows})</summary><p class='wb-muted'>SHA-256 of the rows: "
        f"<code>{escape(str(known.get('sha256', '')))}</code>; all of them are in the run's "
        f"folder. The first {EXAMPLES}:</p>{examples}</details>"
    )


def _example(row: Any) -> str:
    values: Mapping[str, Any] = row if isinstance(row, Mapping) else {"row": str(row)}
    cells = [
        (abridged(name, MOST_LETTERS), _text_cell(value))
        for name, value in islice(values.items(), MOST_FIELDS)
        if value not in (None, "") and isinstance(value, str | list)
    ]
    return f"{table(cells, row_head=0, attributes=FACT_TABLE)}<br>"


def _text_cell(value: Any) -> Html:
    return Html(f"<div class='wb-text'>{escape(abridged(as_text(value), MOST_LETTERS))}</div>")


def _evaluations(folder: RunFolder) -> str:
    evaluations = read_json(folder.path / EVALUATION, MOST_CONFIG) or {}
    tables: list[str] = []
    for figures in evaluations.values():
        if not isinstance(figures, Mapping):
            continue
        rows = [
            (str(name).replace("_", " "), _figure(value))
            for name, value in figures.items()
            if isinstance(value, int | float)
        ]
        tables.append(table(rows, ("", "class='wb-num'"), row_head=0, attributes=FACT_TABLE))
    if not tables:
        return ""
    title = f"Evaluation ({len(tables)} sets of data)" if len(tables) > 1 else "Evaluation"
    return f"<details open><summary>{title}</summary>{'<br>'.join(tables)}</details>"


def _machine(config: Mapping[str, Any]) -> str:
    hardware = config.get("hardware")
    if not hardware:
        return ""
    versions = ", ".join(f"{name} {v}" for name, v in (hardware.get("versions") or {}).items())
    device = hardware.get("gpu") or f"{hardware.get('cpu_cores')} CPU cores"
    created = str(config.get("created", ""))
    parts = [created, device, f"Python {hardware.get('python')}", versions]
    line = " · ".join(part for part in parts if part)
    return f"<details><summary>Where and when</summary><p>{escape(line)}</p></details>"


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def labelled(pairs: Sequence[Any], most: int = 12) -> str:
    """Some labelled pairs, the better answer left: what the round's labels look like."""
    shown = [pair for pair in pairs if (pair.label or {}).get("kind") == "choice"][:most]
    if not shown:
        return ""
    rows: list[list[Html]] = []
    for pair in shown:
        won = pair.label["winner"]
        other = next(i for i in range(len(pair.responses)) if i != won)
        texts = (pair.prompt, pair.responses[won], pair.responses[other])
        rows.append([_text_cell(text) for text in texts])
    heads = ("Prompt", "Preferred", "Not preferred")
    answers = table(rows, heads=heads, attributes="class='answers labels'")
    return (
        f"<section><h2>What was labelled</h2><p class='wb-muted'>{len(shown)} of the pairs that "
        f"were drawn from the policy.</p><div class='scroll'>{answers}</div></section>"
    )
