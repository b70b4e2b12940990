"""What a report says of a run besides its curves: its data, its evaluations, where it ran."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from itertools import islice
from typing import Any

from workbench.json_lines import read_json
from workbench.runs import RunFolder
from workbench.runs.evaluations import EVALUATION
from workbench.widgets.kit.texts import as_text

EXAMPLES = 3
MOST_LETTERS = 600  # of one text of an example

Rows = list[dict[str, Any]]


def facts(folder: RunFolder) -> str:
    """Data, evaluations and machine of a run, each folded away under what it is."""
    config = folder.config()
    parts = (_data(folder, config), _evaluations(folder), _machine(config))
    return "".join(part for part in parts if part)


def told_answers(folder: RunFolder) -> Rows:
    """What a policy answered to the same prompts at first and at last, as rows to compare."""
    return answers_between(folder, folder)


def answers_between(before: RunFolder, after: RunFolder) -> Rows:
    """The first answers of one run beside the last of another, on the prompts that both have.

    Args:
        before: the run whose first sampled answers stand left.
        after: the run whose last ones stand right; may be the same.
    """
    one = _sampled(before, first=True)
    two = _sampled(after, first=False)
    return [
        {
            "prompt": two[key]["prompt"],
            "answers": [_answer(before, one[key]), _answer(after, two[key])],
        }
        for key in two
        if key in one
    ]


def _sampled(folder: RunFolder, *, first: bool) -> dict[str, dict[str, Any]]:
    """By prompt, the rows of the first or the last step at which the same prompts were answered."""
    rows = [row for row in folder.samples() if "response" in row]
    if not rows:
        return {}
    steps = [int(row["step"]) for row in rows]
    wanted = min(steps) if first else max(steps)
    return {json.dumps(row["prompt"]): row for row in rows if row["step"] == wanted}


def _answer(folder: RunFolder, row: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: row[name] for name in ("score", "gold", "kl") if row.get(name) is not None}
    return {"model": f"{folder.name}, step {row['step']}", "text": as_text(row["response"]), **kept}


def _data(folder: RunFolder, config: Mapping[str, Any]) -> str:
    known = config.get("data") or {}
    examples = "".join(_example(row) for row in islice(folder.data_rows(), EXAMPLES))
    rows = f"{known.get('rows', 0):,} rows"
    return (
        f"<details><summary>Data ({rows})</summary><p class='wb-muted'>SHA-256 of the rows: "
        f"<code>{escape(str(known.get('sha256', '')))}</code>; all of them are in the run's "
        f"folder. The first {EXAMPLES}:</p>{examples}</details>"
    )


def _example(row: Mapping[str, Any]) -> str:
    cells = "".join(
        f"<tr><th scope='row'>{escape(name)}</th>"
        f"<td><div class='wb-text'>{escape(as_text(value)[:MOST_LETTERS])}</div></td></tr>"
        for name, value in row.items()
        if value not in (None, "") and isinstance(value, str | list)
    )
    return f"<table class='figures'>{cells}</table><br>"


def _evaluations(folder: RunFolder) -> str:
    kept = read_json(folder.path / EVALUATION) or {}
    found: list[str] = []
    for values in kept.values():
        rows = "".join(
            f"<tr><th scope='row'>{escape(str(name).replace('_', ' '))}</th>"
            f"<td class='wb-num'>{_figure(value)}</td></tr>"
            for name, value in values.items()
            if isinstance(value, int | float)
        )
        found.append(f"<table class='figures'>{rows}</table>")
    if not found:
        return ""
    title = f"Evaluation ({len(found)} sets of data)" if len(found) > 1 else "Evaluation"
    return f"<details open><summary>{title}</summary>{'<br>'.join(found)}</details>"


def _machine(config: Mapping[str, Any]) -> str:
    hardware = config.get("hardware")
    if not hardware:
        return ""
    versions = ", ".join(f"{name} {v}" for name, v in (hardware.get("versions") or {}).items())
    device = hardware.get("gpu") or f"{hardware.get('cpu_cores')} CPU cores"
    created = str(config.get("created", ""))
    told = [created, device, f"Python {hardware.get('python')}", versions]
    line = " · ".join(part for part in told if part)
    return f"<details><summary>Where and when</summary><p>{escape(line)}</p></details>"


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def labelled(pairs: Sequence[Any], most: int = 12) -> str:
    """Some labelled pairs, the better answer left: what the round's labels look like."""
    shown = [pair for pair in pairs if (pair.label or {}).get("kind") == "choice"][:most]
    if not shown:
        return ""
    rows: list[str] = []
    for pair in shown:
        won = pair.label["winner"]
        other = next(i for i in range(len(pair.responses)) if i != won)
        texts = (pair.prompt, pair.responses[won], pair.responses[other])
        cells = "".join(
            f"<td><div class='wb-text'>{escape(as_text(text)[:MOST_LETTERS])}</div></td>"
            for text in texts
        )
        rows.append(f"<tr>{cells}</tr>")
    heads = "".join(f"<th scope='col'>{t}</th>" for t in ("Prompt", "Preferred", "Not preferred"))
    return (
        f"<section><h2>What was labelled</h2><p class='wb-muted'>{len(shown)} of the pairs that "
        f"were drawn from the policy.</p><div class='scroll'><table class='answers labels'><thead>"
        f"<tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )
