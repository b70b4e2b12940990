"""The formats that are read, found by their columns or asked for by name."""

from functools import partial

from workbench.data.reading import readers_choices as choices
from workbench.data.reading import readers_exports as exports
from workbench.data.reading import readers_grouped as grouped
from workbench.data.reading import readers_own as own
from workbench.data.reading import readers_pairs as pairs
from workbench.data.reading import readers_ranked as ranked
from workbench.data.reading.parsed import Format

_HELPFUL, _SAFER = "better_response_id", "safer_response_id"
_PKU = ("prompt", "response_0", "response_1", _HELPFUL, _SAFER)
_BOTH = ("chosen", "rejected")

# In the order in which they are tried: the more a format needs, the earlier.
FORMATS = (
    # as `Pairs.save` writes it, with or without a label; or by hand, with one
    Format("canonical", ("id", "prompt", "responses", "source", "meta"), own.read_canonical),
    Format("canonical", ("prompt", "responses", "label"), own.read_canonical),
    Format("argilla", (), exports.read_argilla, exports.is_argilla),
    Format(
        "label-studio", ("data", "annotations"), exports.read_label_studio, exports.is_label_studio
    ),
    Format("unlabelled", ("prompt", "responses"), own.read_unlabelled),
    Format("oasst", ("message_tree_id", "prompt"), ranked.read_oasst, ranked.is_tree),
    Format("nectar", ("prompt", "answers"), ranked.read_nectar, ranked.are_ranked),
    Format("ultrafeedback", ("instruction", "completions"), ranked.read_ultrafeedback),
    Format(
        "arena-140k",
        ("conversation_a", "conversation_b", "winner", "evaluation_session_id"),
        choices.read_arena,
    ),
    Format("arena-33k", ("conversation_a", "conversation_b", "winner"), choices.read_arena),
    Format(
        "arena-55k",
        ("prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie"),
        choices.read_arena_55k,
    ),
    Format(
        "pku-safe-rlhf",
        _PKU,
        choices.ask_which,
        asks=("pku-safe-rlhf:helpful", "pku-safe-rlhf:safe"),
    ),
    Format("pku-safe-rlhf:helpful", _PKU, partial(choices.read_pku, column=_HELPFUL), auto=False),
    Format("pku-safe-rlhf:safe", _PKU, partial(choices.read_pku, column=_SAFER), auto=False),
    Format(
        "helpsteer3",
        ("context", "response1", "response2", "overall_preference"),
        choices.read_helpsteer3,
    ),
    Format(
        "helpsteer2-preference",
        ("prompt", "response_1", "response_2", "preference_strength"),
        choices.read_helpsteer2_preference,
    ),
    Format(
        "helpsteer2",
        ("prompt", "response", "helpfulness"),
        grouped.read_helpsteer2,
        join=grouped.join_scored,
    ),
    Format(
        "stack-exchange-paired",
        ("question", "response_j", "response_k"),
        choices.read_stack_exchange,
    ),
    Format(
        "webgpt", ("question", "answer_0", "answer_1", "score_0", "score_1"), choices.read_webgpt
    ),
    Format("shp", ("history", "human_ref_a", "human_ref_b", "labels"), choices.read_shp),
    Format("summarize-comparisons", ("info", "summaries", "choice"), choices.read_summaries),
    Format(
        "summarize-axis", ("info", "summary"), grouped.read_summary_axis, join=grouped.join_scored
    ),
    Format(
        "alpaca-farm",
        ("instruction", "output_1", "output_2", "preference"),
        choices.read_alpaca_farm,
    ),
    Format(
        "argilla-binarized",
        ("instruction", "chosen_response", "rejected_response"),
        pairs.read_argilla_binarized,
    ),
    Format(
        "openai-dpo", ("input", "preferred_output", "non_preferred_output"), pairs.read_openai_dpo
    ),
    Format("llama-factory-sharegpt", ("conversations", *_BOTH), pairs.read_sharegpt),
    Format(
        "reward-bench-2",
        ("prompt", *_BOTH, "num_correct"),
        pairs.read_reward_bench_2,
        pairs.is_list,
    ),
    Format(
        "reward-bench",
        ("prompt", *_BOTH, "chosen_model", "rejected_model", "subset"),
        pairs.read_explicit,
    ),
    Format(
        "ultrafeedback-binarized",
        ("prompt", *_BOTH, "prompt_id", "messages"),
        pairs.read_ultrafeedback_binarized,
    ),
    Format("orca-dpo-pairs", ("question", *_BOTH), pairs.read_question),
    Format("llama-factory-alpaca", ("instruction", *_BOTH, "history"), pairs.read_instruction),
    Format("instruction", ("instruction", *_BOTH), pairs.read_instruction),
    Format("full-hh-rlhf", ("prompt", *_BOTH), pairs.read_explicit, pairs.asks_in_transcript),
    Format("trl-standard", ("prompt", *_BOTH), pairs.read_explicit, pairs.is_text),
    Format("trl", ("prompt", *_BOTH), pairs.read_explicit),
    Format("hh", _BOTH, pairs.read_implicit, pairs.is_transcript),
    Format("skywork", (*_BOTH, "source"), pairs.read_implicit, pairs.is_list),
    Format("trl-implicit-standard", _BOTH, pairs.read_implicit, pairs.is_text),
    Format("trl-implicit", _BOTH, pairs.read_implicit),
    Format(
        "trl-unpaired",
        ("prompt", "completion", "label"),
        grouped.read_unpaired,
        grouped.is_answer,
        join=grouped.join_unpaired,
    ),
)

_ALSO = ("input", "margin", "system", "score_a", "score_b", "model_a", "model_b")

# Columns that are known whatever their case: those the formats need, and some that they may have.
COLUMNS_OF_FORMATS = frozenset(_ALSO).union(*(fmt.needs for fmt in FORMATS))
