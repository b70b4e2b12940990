"""What a reward score is made of."""

from typing import TYPE_CHECKING, Any

from workbench.errors import DataError
from workbench.progress import working
from workbench.runs import run_job
from workbench.settings import PPOSettings
from workbench.verbs.load_data import load_prompts
from workbench.verbs.model_names import Model, check_model, model_name

if TYPE_CHECKING:
    from workbench.reports.score_parts import ScoreParts


@working("why")
def why(reward: Model, prompt: Any, *responses: str, **settings: Any) -> "ScoreParts":
    """Why an answer scores what it scores: each token's part of its reward score, as a heat map.

    The parts add up to the score less that of an answer without words. A part is what the score
    loses when the token is taken away, on average over orders in which all are taken away. Each
    sentence is also left out by itself, as a check. ``.frame`` has a row a token.

    Args:
        reward: a run of :func:`train_reward`, or its folder.
        prompt: a text, or the messages of a conversation.
        responses: one answer; several stand side by side, on one scale.
        settings: quantization, dtype, device, max_length, seed as in ``PPOSettings``.

    Raises:
        DataError: there is no answer, or one is so long that it has no score.
    """
    from workbench.reports.score_parts import ScoreParts

    checked = PPOSettings.from_dict(settings)
    check_model(reward, "reward", "scores")
    if not responses:
        raise DataError(
            "there is no answer to explain",
            where="wb.why",
            fix="give one behind the prompt: wb.why(reward, prompt, response)",
        )
    request = {
        "reward": model_name(reward),
        "prompts": list(load_prompts([prompt])) * len(responses),
        "responses": list(responses),
        "settings": checked.to_dict(),
    }
    return ScoreParts(run_job("attributions", request)["attributions"])
