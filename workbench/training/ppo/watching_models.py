"""Reward models that only watch: they score the answers, and nothing learns from them."""

from collections.abc import Sequence

from torch import Tensor

from workbench.models.encoding import Encoded, Encoder, Message
from workbench.models.roles import Roles
from workbench.settings import RunSettings
from workbench.training.reward.scorer import Scorer


class Reader:
    """Scores a policy's answers by a reward model, whichever base that stands on.

    Args:
        role: its name on the policy's base, which nothing else there may have.
        reward: a run of ``train_reward``, or its ``final/``.
        roles: the policy's base.
        settings: as of the run.
    """

    def __init__(self, role: str, reward: str, roles: Roles, settings: RunSettings) -> None:
        self.scorer = Scorer.attach(reward, roles, settings, role=role)
        self.eos_ids = roles.base.eos_ids
        self.settings = settings
        self.own = self.scorer.encoder(settings)

    def scores(
        self, rows: Sequence[Encoded], prompts: Sequence[list[Message]], policy: Encoder
    ) -> Tensor:
        """Normalised scores ``(B,)`` of answers in the policy's ids, as ``policy`` decodes them."""
        if not self.scorer.shares_base:
            rows = self.scorer.read(rows, prompts, policy, self.own, self.eos_ids)
        return self.scorer.scores(rows, tokens=self.settings.micro_batch_tokens)
