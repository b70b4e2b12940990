"""Train the embedded models, tiny-base and tiny-chat, on the text files of the sample world.

The trainer is the workbench's own supervised fine-tuning, with every weight trained. One thread
and one seed: the same machine makes the same weights again.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

SEED = 20
VOCABULARY = 1536  # enough for every word of the world to be one token
PAD, END, USER, ASSISTANT = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"
TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'assistant' %}<|assistant|>{% else %}<|user|>{% endif %}"
    "{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
}
PRETRAINING = {"learning_rate": 3e-3, "batch_size": 32, "epochs": 6.0, "max_length": 128}
TUNING = {"learning_rate": 1.5e-3, "batch_size": 64, "epochs": 8.0, "max_length": 160}
REPLAYED = 1500
# A small model leaves some chance on every word there is, and in thirty words one such slip is
# likely. The chat model's logits are scaled by this, through the norm before them.
SHARPENED = 1.2


def build_weights(out: Path) -> None:
    """Write ``tiny-base`` and ``tiny-chat`` from the text files that lie in ``out``."""
    os.environ["OMP_NUM_THREADS"] = "1"
    texts = [json.loads(line) for line in (out / "texts.jsonl").open(encoding="utf-8")]
    chats = [json.loads(line) for line in (out / "instructions.jsonl").open(encoding="utf-8")]
    with tempfile.TemporaryDirectory() as folder:
        empty, base, chat = (Path(folder) / name for name in ("empty", "base", "chat"))
        _empty_model(empty, [t["text"] for t in texts] + [c["output"] for c in chats])
        _train(empty, texts, base, PRETRAINING)
        _publish(base / "final", out / "tiny-base")
        kept = texts[:REPLAYED]  # so that tuning does not wipe out what the texts taught
        _train(base / "final", [_example(c) for c in chats] + kept, chat, TUNING)
        _publish(chat / "final", out / "tiny-chat", sharpened=SHARPENED)


def _example(chat: dict[str, str]) -> dict[str, Any]:
    content = "\n".join(part for part in (chat["instruction"], chat["input"]) if part)
    return {"prompt": [{"role": "user", "content": content}], "response": chat["output"]}


def _empty_model(folder: Path, texts: list[str]) -> None:
    """A tokenizer learned from the texts, and untrained weights."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, END, USER, ASSISTANT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = TEMPLATE
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        tie_word_embeddings=True,
        pad_token_id=fast.pad_token_id,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        **SHAPE,
    )
    LlamaForCausalLM(config).save_pretrained(str(folder))
    fast.save_pretrained(str(folder))


def _train(model: Path, rows: list[dict[str, Any]], out: Path, settings: dict[str, Any]) -> None:
    from workbench.events import Place, Progress
    from workbench.settings import SFTSettings
    from workbench.training import sft

    full = SFTSettings(
        seed=SEED,
        device="cpu",
        quantization="none",
        dtype="float32",
        lora_rank=0,
        threads=1,
        warmup_steps=50,
        weight_decay=0.01,
        holdout=0.0,
        watch_prompts=0,
        **settings,
    )
    out.mkdir(parents=True)
    for event in sft.SFTTrainer(str(model), rows, full, Place(out)).run():
        if isinstance(event, Progress) and event.step % 100 == 0:
            print(
                f"{out.name}: step {event.step} of {event.total_steps}, "
                f"loss {event.metrics['loss']:.3f}",
                flush=True,
            )


def _publish(final: Path, target: Path, sharpened: float = 1.0) -> None:
    """Keep the weights as fp16 safetensors, and only the files that loading needs."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shutil.rmtree(target, ignore_errors=True)
    model = AutoModelForCausalLM.from_pretrained(str(final), dtype=torch.float16)
    norm = model.model.norm.weight
    norm.data = (norm.data.float() * sharpened).half()
    model.save_pretrained(str(target))
    AutoTokenizer.from_pretrained(str(final)).save_pretrained(str(target))
