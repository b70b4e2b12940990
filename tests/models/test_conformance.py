"""What we compute of any family is what the library's own forward computes, or loading ends."""

import pytest
import transformers

from workbench.models.self_test import self_test

from . import conformance
from .conformance import ENCODERS, SEEING, TABLE, causal_families, causal_outcome, encoder_outcome


@pytest.fixture(scope="module", autouse=True)
def quiet():
    transformers.logging.set_verbosity_error()


@pytest.mark.parametrize("kind", [*causal_families(), *SEEING])
def test_a_family_is_exact_or_refused(kind):
    """Log-probabilities, every step of sampling, and an adapter's gradients."""
    assert causal_outcome(kind).text.startswith(("exact", "refused: "))


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_scores_rows_together_as_alone(kind):
    assert encoder_outcome(kind).text.startswith("exact")


def test_the_families_are_many_and_few_are_refused():
    texts = [causal_outcome(kind).text for kind in causal_families()]
    assert len(texts) >= 45 and len(ENCODERS) >= 6
    assert sum(text.startswith("refused") for text in texts) <= 5


def test_the_table_in_the_documents_is_what_was_found():
    """By the version that it names; other versions have other families."""
    text = TABLE.read_text(encoding="utf-8")
    if f"transformers {transformers.__version__} " in text:
        assert text == conformance.table(), "python -m tests.models.conformance writes it anew"
    assert text.count("\n| exact") >= 3


def test_a_wrong_way_would_be_found(monkeypatch):
    """Were the head rebuilt by hand, Cohere's scale would be missed."""
    base = conformance.make("cohere", conformance.config_of("cohere"))
    self_test(base)
    head = base.model.get_output_embeddings()
    monkeypatch.setattr(type(base), "logits", lambda self, hidden: head(hidden))
    with pytest.raises(AssertionError, match="nats apart"):
        conformance._check_logprobs(base)
