"""What a tokenizer must have before anything is encoded, and what stands in where it has not."""

from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from workbench.errors import ModelError
from workbench.models.bounds import token_ids
from workbench.models.chat_template import TODAY, ChatTemplate, stand_in
from workbench.models.source import Source


def settle_tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    source: Source,
    notices: list[str],
    *,
    encoder: bool,
) -> tuple[int, ...]:
    """Give the tokenizer what it lacks, saying so; return every token that ends an answer.

    Raises:
        ModelError: it has tokens that the model has no embedding for, or none that ends an answer.
    """
    _check_vocabulary(model, tokenizer, source)
    generation = getattr(model, "generation_config", None)
    listed = getattr(generation, "eos_token_id", None)
    ends: list[Any] = list(listed) if isinstance(listed, list | tuple | set) else [listed]
    ends = [end for end in ends if end is not None]
    if any(type(end) is not int for end in ends):
        raise ModelError(
            f"eos_token_id is {listed!r:.60}, and ids are numbers",
            where=f"{source.base}: generation_config.json",
            fix="restore generation_config.json, or delete it: the tokenizer's EOS counts then",
        )
    eos: set[int] = set(ends)
    own = cast("int | None", tokenizer.eos_token_id)
    if own is not None:
        eos.add(own)
    if encoder and not eos and tokenizer.sep_token_id is not None:
        eos.add(int(cast("Any", tokenizer.sep_token_id)))
    if not eos:
        raise ModelError(
            "the tokenizer has no EOS token, so no answer could end",
            where=source.base,
            fix="set tokenizer.eos_token to the token that ends a turn, and save the tokenizer",
        )
    if tokenizer.eos_token_id is None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(min(eos))
    _settle_padding(tokenizer, eos, notices)
    if not tokenizer.chat_template and not encoder:
        tokenizer.chat_template = stand_in(tokenizer)
        notices.append("the tokenizer had no chat template: a plain 'User: / Assistant:' is used")
    if tokenizer.chat_template:
        eos |= _turn_ends(tokenizer, eos, notices)
    return tuple(sorted(eos))


def _turn_ends(tokenizer: PreTrainedTokenizerBase, eos: set[int], notices: list[str]) -> set[int]:
    """The token by which the chat template ends an answer, and what should be known of it."""
    template = ChatTemplate(tokenizer)
    source = template.source
    if "strftime_now" in source:
        notices.append(
            f"the chat template writes the date: it is always told {TODAY}, so that a prompt is "
            "the same tomorrow (chat_template_kwargs={'today': ...} tells it another day)"
        )
    if "enable_thinking" in source:
        notices.append(
            "the chat template knows thinking: chat_template_kwargs={'enable_thinking': False} "
            "asks for answers without it, where the model can"
        )
    end = end_token(tokenizer, template.turn_end)
    if template.turn_end and end is None:
        notices.append(
            f"the chat template ends a turn with {template.turn_end.strip()!r}, which is no token "
            f"of the tokenizer's own: {tokenizer.eos_token} follows it"
        )
    return set() if end is None else {end}


def end_token(tokenizer: PreTrainedTokenizerBase, turn_end: str) -> int | None:
    """The token that ends a turn; None where the template writes none, or only plain text."""
    if not turn_end:
        return None
    ids = token_ids(tokenizer, turn_end, add_special_tokens=False)
    own = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    return ids[-1] if ids and (ids[-1] in own or len(ids) == 1) else None


def _check_vocabulary(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: Source
) -> None:
    """Every token that the tokenizer can give must have an embedding."""
    embeddings = cast("nn.Embedding", model.get_input_embeddings())
    size = int(embeddings.weight.shape[0])
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    outside = sorted((i, token) for token, i in vocabulary.items() if i >= size)
    if outside:
        raise ModelError(
            f"the tokenizer has {len(outside)} tokens that the model has no embedding for",
            where=f"{source.tokenizer}: {size} embeddings, first token without one: "
            f"{outside[0][1]!r} ({outside[0][0]})",
            fix="give the tokenizer that the model was made with, or call "
            "model.resize_token_embeddings(len(tokenizer)) and save the model",
        )


def _settle_padding(tokenizer: PreTrainedTokenizerBase, eos: set[int], notices: list[str]) -> None:
    """A pad token that ends no answer.

    Nothing here reads padding, but transformers finds a classifier's last token by it: were it
    EOS, the score there would be that of the token before.
    """
    pad = cast("int | None", tokenizer.pad_token_id)
    if pad is not None and pad not in eos:
        return
    had = "had no pad token" if pad is None else "padded with the token that ends an answer"
    special = [cast("Any", tokenizer.unk_token_id), *cast("Any", tokenizer.all_special_ids)]
    others = [i for i in (*special, *range(len(eos) + 1)) if i is not None and i not in eos]
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(int(others[0]))
    notices.append(f"the tokenizer {had}: {tokenizer.pad_token} stands in (lengths are kept apart)")
