"""What is answered: the prompts that PPO trains on, and those whose answers a person watches."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from workbench.data.messages import Message
from workbench.errors import DataError
from workbench.models.encoding import Encoder


class Prompt(NamedTuple):
    """What is answered: its messages, and its ids as the policy reads them."""

    messages: list[Message]
    ids: list[int]


def encode_prompts(
    prompts: Sequence[list[Message]], encoder: Encoder, *, room: int
) -> list[Prompt]:
    """Prompts as the policy reads them, each with ``room`` tokens left for its answer.

    Raises:
        DataError: there is none.
        DataError: the chat template refuses one of them.
        ConfigError: so long an answer leaves no room for a prompt.
    """
    if not prompts:
        raise DataError(
            "there is no prompt to train on", where="prompts", fix="give at least one prompt"
        )
    encoded = encoder.prompts(prompts, room=room)
    return [Prompt(messages, ids) for messages, ids in zip(prompts, encoded, strict=True)]


def watched_prompts(
    choice: Any, training: Sequence[Prompt], encoder: Encoder, *, room: int
) -> list[Prompt]:
    """So many of the training prompts, evenly spaced; or those chosen, texts or messages."""
    if isinstance(choice, int):
        count = min(choice, len(training))
        return [training[i * (len(training) // count)] for i in range(count)]
    chosen: list[list[Message]] = [
        [Message(role="user", content=p)] if isinstance(p, str) else p for p in choice
    ]
    return encode_prompts(chosen, encoder, room=room) if chosen else []
