"""What both sides of the PPO comparison get: a random Llama, its tokenizer and prompts.

The same on every machine; needs transformers alone, so that the peer's environment can run it.
"""

import json
import math
import os
import random
import resource
from pathlib import Path

WORDS = 4092
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
PAD, UNKNOWN, BEGIN, EOS = range(4)
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SIZES = {
    "vocab_size": WORDS + len(SPECIAL),
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
    "pad_token_id": PAD,
    "bos_token_id": BEGIN,
    "eos_token_id": EOS,
}
PROMPTS = 256
#: One update's shape, the same for both.
BATCH, EPOCHS, MINI_BATCHES, ANSWER, FIXED_PROMPT, RANK, ALPHA = 32, 4, 4, 48, 32, 16, 32
RATE, KL = 1e-6, 0.05  # so small that answers stay as long as they were made; it costs the same
SHORTEST, LONGEST, TYPICAL, SPREAD = 16, 256, 64, 0.7  # tokens; the lognormal's median and sigma
LENGTHS = ("fixed", "natural")


def prompts(lengths: str) -> list[str]:
    """Prompts of one length, or of lengths as people write them: lognormal."""
    dice = random.Random(7)

    def size() -> int:
        if lengths == "fixed":
            return FIXED_PROMPT
        drawn = round(TYPICAL * math.exp(SPREAD * dice.gauss(0.0, 1.0)))
        return min(LONGEST, max(SHORTEST, drawn))

    return [" ".join(f"w{dice.randrange(WORDS)}" for _ in range(size())) for _ in range(PROMPTS)]


def make(folder: Path) -> None:
    """Write ``fixed/`` and ``natural/``: a model each, and its prompts."""
    if (folder / "complete").exists():
        return
    for lengths in LENGTHS:
        _model(folder / lengths, 0.0 if lengths == "fixed" else 3.0 / ANSWER)
        (folder / lengths / "prompts.json").write_text(json.dumps(prompts(lengths)))
    (folder / "complete").touch()


def _model(folder: Path, ending: float) -> None:
    """A random model whose answers end with this probability at each token."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES)).float().eval()
    with torch.no_grad():
        # one dimension that is the same for every token carries the EOS logit, and no other
        model.get_input_embeddings().weight[:, 0] = 0.5
        head = model.get_output_embeddings().weight
        head[:, 0] = head[EOS] = 0.0
        ids = torch.randint(len(SPECIAL), WORDS, (32, FIXED_PROMPT))
        hidden = model.base_model(input_ids=ids).last_hidden_state[:, -1]
        head[EOS, 0] = -10.0 if not ending else 0.0
        for _ in range(20 if ending else 0):
            found = torch.softmax(hidden @ head.T, dim=1)[:, EOS].mean()
            head[EOS, 0] += math.log(ending / float(found)) / float(hidden[:, 0].mean())
    model.save_pretrained(str(folder))
    tokenizer().save_pretrained(str(folder))


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = [*SPECIAL, *(f"w{n}" for n in range(WORDS))]
    inner = Tokenizer(models.WordLevel({n: i for i, n in enumerate(names)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        padding_side="left",
    )
    made.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    return made


def peak_mb() -> float:
    """The most memory that this process had. [MB]"""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def alone() -> None:
    """One thread, no network."""
    for name, value in {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }.items():
        os.environ.setdefault(name, value)
