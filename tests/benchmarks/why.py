"""Whether the tokens that an explanation names are those that a reward score comes from.

``python tests/benchmarks/why.py`` trains a reward model on the sample data (some minutes), takes
200 held-out answers apart and deletes the tenth of their tokens with the largest parts, as many at
random, and those that gradient times input names; it writes results.json and its table in
RESULTS.md. ``--reward RUN`` takes a trained run; fewer ``--answers`` only print.
"""

import argparse
import json
import math
import random
import sys
from statistics import fmean

import torch
from record import machine, record, tell

import workbench as wb
from workbench.data.messages import as_messages
from workbench.models.answer_scores import separate_scores
from workbench.models.base import load_base
from workbench.models.encoding import Encoded
from workbench.models.roles import Roles
from workbench.models.source import resolve
from workbench.settings import PPOSettings
from workbench.training.reward.attribution import attribution
from workbench.training.reward.scorer import Scorer
from workbench.verbs.train import finished

ANSWERS = 200
DRAWS = 10  # random deletions of each answer
RATIO, GAP = 2.0, 1e-4


def by_gradient(scorer: Scorer, row: Encoded) -> list[float]:
    """Gradient times input of each token, the input less the vocabulary's mean embedding."""
    layer, (member,) = scorer.base.model.get_input_embeddings(), scorer.members
    embedded = layer(torch.tensor([row.ids])).detach().requires_grad_()
    hook = layer.register_forward_hook(lambda *_: embedded)
    try:
        with scorer.roles.acting(member.role):
            score = separate_scores(scorer.base, member.head, [[row.ids]])
    finally:
        hook.remove()
    (slope,) = torch.autograd.grad(score.sum(), embedded)
    away = embedded.detach() - layer.weight.detach().mean(0)
    return (slope * away)[0].sum(-1)[len(row.prompt) :].tolist()


def measured(reward: str, count: int) -> dict:
    """The mean loss of score by each way to choose the tokens, and the ratio's interval."""
    settings = PPOSettings()
    roles = Roles(load_base(resolve(reward), settings), settings)
    scorer = Scorer.attach(reward, roles, settings)
    encoder, lots = scorer.encoder(settings), random.Random(0)
    special = set(scorer.base.tokenizer.all_special_ids)
    lost: dict[str, list[float]] = {"parts": [], "gradient": [], "random": []}
    gaps = list[float]()
    for number, pair in enumerate(wb.load_pairs("sample:pairs_heldout")[:count]):
        text = pair.responses[number % 2][0]["content"]
        row = encoder.pair(pair.prompt, as_messages(text, "assistant"))
        found = attribution(scorer, row, encoder.pieces(row.response), settings)
        gaps.append(abs(sum(found.parts) - (found.score - found.empty)))
        plain = [at for at, token in enumerate(row.response) if token not in special]
        tenth, slopes = math.ceil(len(plain) / 10), by_gradient(scorer, row)
        gone = [sorted(plain, key=lambda at: -found.parts[at])[:tenth]]
        gone.append(sorted(plain, key=lambda at: -slopes[at])[:tenth])
        gone += [lots.sample(plain, tenth) for _ in range(DRAWS)]
        rows = [_without(row, set(tokens)) for tokens in gone]
        after = scorer.scores(rows, tokens=settings.micro_batch_tokens).tolist()
        for name, value in zip(lost, (*after[:2], fmean(after[2:])), strict=True):
            lost[name].append(found.score - value)
    drawn = [lots.choices(range(count), k=count) for _ in range(2000)]
    ratios = sorted(
        sum(lost["parts"][i] for i in some) / sum(lost["random"][i] for i in some) for some in drawn
    )
    means = {name: fmean(own) for name, own in lost.items()}
    return {
        **{"answers": count, "lost": means, "ratio": means["parts"] / means["random"]},
        **{"low": ratios[50], "high": ratios[1949], "gap": max(gaps)},
    }


def _without(row: Encoded, gone: set[int]) -> Encoded:
    return Encoded(row.prompt, [t for at, t in enumerate(row.response) if at not in gone])


def failures(figures: dict) -> list[str]:
    """Which promises do not hold in these figures."""
    tokens, found = figures["tokens"], []
    if tokens["low"] < RATIO:
        found.append(f"the tokens named weigh less than {RATIO} times as many drawn by lot")
    if tokens["gap"] > GAP:
        found.append(f"the parts are further than {GAP} from their sum")
    return found


def table(figures: dict) -> str:
    """The table in RESULTS.md."""
    tokens = figures["tokens"]
    lost = tokens["lost"]
    return "\n".join(
        [
            "| why this score | measured | promised |",
            "|---|---|---|",
            f"| the score falls by, a tenth of an answer's tokens deleted: those with the largest "
            f"parts | {lost['parts']:.2f} | |",
            f"| as many, drawn by lot | {lost['random']:.2f} | |",
            f"| as many, by gradient times input | {lost['gradient']:.2f} | |",
            f"| the first over the second (95 % interval) | {tokens['ratio']:.1f} "
            f"({tokens['low']:.1f} to {tokens['high']:.1f}) | ≥ {RATIO:g} |",
            f"| the parts' sum from the score, at most | {tokens['gap']:.0e} | ≤ {GAP:.0e} |",
            "",
            f"{tokens['answers']} held-out answers, a reward model of `builtin:tiny-chat`. "
            f"Machine: {figures['machine']}, Python {figures['python']}; "
            f"commit {figures['commit']}, {figures['date']}. Written by `tests/benchmarks/why.py`.",
        ]
    )


def main() -> int:
    """Measure, print, and write down what a full measurement found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reward")
    parser.add_argument("--answers", type=int, default=ANSWERS)
    args = parser.parse_args()
    reward = args.reward or str(
        finished(wb.train_reward("builtin:tiny-chat", "sample:pairs_train", name="why")).path
    )
    figures = {"tokens": measured(reward, args.answers), **machine()}
    print(json.dumps(figures))
    print(table(figures))
    if args.answers == ANSWERS:
        record({"why": figures})
        tell("why", table(figures))
    for words in failures(figures):
        print(words, file=sys.stderr)
    return 1 if failures(figures) else 0


if __name__ == "__main__":
    sys.exit(main())
