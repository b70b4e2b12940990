"""The workbench's side of the PPO comparison, and the floor under it.

``python ppo_own.py FIXTURES fixed|natural adapter|shared UPDATES [--floor]`` prints one JSON line.
"""

import json
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import ppo_made as made

made.alone()

import torch  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoModelForCausalLM, DynamicCache  # noqa: E402

from workbench.events import Finished, Place, Progress  # noqa: E402
from workbench.models.base import load_base  # noqa: E402
from workbench.models.roles import Roles  # noqa: E402
from workbench.models.source import resolve  # noqa: E402
from workbench.settings import PPOSettings  # noqa: E402
from workbench.training.ppo import ppo  # noqa: E402


def settings(value: str, updates: int) -> PPOSettings:
    """The peer's settings by our names."""
    return PPOSettings(
        steps=updates,
        batch_size=made.BATCH,
        epochs=made.EPOCHS,
        mini_batches=made.MINI_BATCHES,
        response_length=made.ANSWER,
        max_length=made.LONGEST + made.ANSWER,
        learning_rate=made.RATE,
        value_learning_rate=made.RATE,
        kl_coef=made.KL,
        lora_rank=made.RANK,
        lora_alpha=made.ALPHA,
        target_modules=tuple(made.TARGETS),
        missing_eos_penalty=0.0,
        quantization="none",
        dtype="float32",
        device="cpu",
        threads=1,
        value=value,
        watch_every=0,
    )


def reward(model: Path, folder: Path, asked: PPOSettings) -> Path:
    """A reward model on the same base, without training."""
    roles = Roles(load_base(resolve(str(model)), asked), asked)
    roles.add("role", trainable=False, seed=5)
    roles.add_head("role", trainable=False, seed=5)
    roles.save("role", folder, task="SEQ_CLS", extra={"kind": "reward"})
    (folder / "reward.json").write_text(json.dumps({"mean": 0.0, "std": 1.0}))
    return folder


class CPUClock:
    """Stands in for the trainer's clock: CPU seconds, which neighbours on the machine spare."""

    def __init__(self) -> None:
        self._start = time.process_time()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str):
        """Count the time inside the block as this phase's."""
        start = time.process_time()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start

    def total(self) -> float:
        """Seconds since the clock was made."""
        return time.process_time() - self._start


def run(fixtures: str, lengths: str, value: str, updates: int) -> dict:
    """Train; what it took, and the episodes' lengths."""
    model, asked = Path(fixtures) / lengths, settings(value, updates)
    ppo.Clock = CPUClock
    sizes: list[list[tuple[int, int]]] = []
    real = ppo.PPOTrainer.sample

    def watched(self, *given, **named):
        rows = real(self, *given, **named)
        sizes.append([(len(row.prompt), len(row.response)) for row in rows])
        return rows

    ppo.PPOTrainer.sample = watched
    with tempfile.TemporaryDirectory() as out:
        judge = reward(model, Path(out) / "reward", asked)
        texts = json.loads((model / "prompts.json").read_text())
        prompts = [[{"role": "user", "content": text}] for text in texts]
        place = Place(Path(out))
        trainer = ppo.PPOTrainer(str(model), str(judge), prompts, asked, place, None)
        start = time.process_time()
        events = list(trainer.run())
        spent = time.process_time() - start
    assert isinstance(events[-1], Finished)
    rows = [event.metrics for event in events if isinstance(event, Progress)]
    assert rows[0]["objective/kl"] == 0.0
    phases = ("generate", "score", "optimise")
    return {
        "torch": torch.__version__,
        "episodes": updates * made.BATCH,
        "updates": updates,
        "cpu_seconds": spent,
        "seconds": {name: sum(row[f"time/{name}"] for row in rows) for name in phases},
        "prompt_tokens": sum(p for batch in sizes for p, _ in batch),
        "response_tokens": sum(r for batch in sizes for _, r in batch),
        "peak_mb": made.peak_mb(),
        "sizes": sizes,
    }


# --- the floor


def floor(fixtures: str, lengths: str, value: str, sizes: list[list[tuple[int, int]]]) -> dict:
    """Bare forwards, backwards and decode steps over the same tokens, and nothing else.

    transformers and peft as they are: dense rows of one length without padding, no optimiser, no
    losses; decoding on weights without adapters, answers that end leave at once.
    """
    torch.set_num_threads(1)
    folder = str(Path(fixtures) / lengths)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    base.requires_grad_(False)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    names = {"r": made.RANK, "lora_alpha": made.ALPHA, "target_modules": made.TARGETS}
    model = get_peft_model(base, LoraConfig(**names)).train()
    trunk, head = base.model, base.lm_head
    seconds = {}
    start = time.process_time()
    with torch.no_grad():
        for batch in sizes:
            _decode(plain, batch)
    seconds["generate"] = time.process_time() - start
    start = time.process_time()
    with torch.no_grad():
        for batch in sizes:
            for ids, answers in _rows(batch, made.MINI_BATCHES):
                for looks in range(
                    4 if value == "adapter" else 3
                ):  # policy, reference, value, reward
                    hidden = trunk(input_ids=ids, use_cache=False).last_hidden_state
                    if looks < 2:
                        head(hidden.flatten(0, 1)[:answers])
    seconds["score"] = time.process_time() - start
    start = time.process_time()
    for batch in sizes:
        for _ in range(made.EPOCHS):
            for ids, answers in _rows(batch, made.MINI_BATCHES):
                for looks in range(2 if value == "adapter" else 1):
                    hidden = trunk(input_ids=ids, use_cache=False).last_hidden_state
                    seen = head(hidden.flatten(0, 1)[:answers]) if looks == 0 else hidden
                    seen.sum().backward()
    seconds["optimise"] = time.process_time() - start
    assert any(p.grad is not None for p in model.parameters())
    return {"cpu_seconds": sum(seconds.values()), "seconds": seconds, "peak_mb": made.peak_mb()}


def _rows(batch, parts):
    """As many tokens as a mini-batch has, in rows of one length: ids, and its response tokens."""
    for part in range(parts):
        some = batch[part::parts]
        tokens = sum(p + r for p, r in some)
        ids = torch.randint(4, made.WORDS, (len(some), round(tokens / len(some))))
        yield ids, sum(r for _, r in some)


def _decode(model, batch):
    """Prompts once, then a step for every token: as many rows as are still going."""
    tokens = sum(p for p, _ in batch)
    cache = DynamicCache(config=model.config)
    ids = torch.randint(4, made.WORDS, (len(batch), round(tokens / len(batch))))
    state = model.model(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state
    model.lm_head(state[:, -1])
    for step in range(1, max(r for _, r in batch)):
        going = sum(r > step for _, r in batch)
        if going < len(ids):
            ids = ids[:going]
            cache.batch_select_indices(torch.arange(going))
        state = model.model(input_ids=ids[:, :1], past_key_values=cache, use_cache=True)
        model.lm_head(state.last_hidden_state[:, -1])


if __name__ == "__main__":
    asked = sys.argv[1:4]
    figures = (
        run(*asked, int(sys.argv[4]))
        if sys.argv[4].isdigit()
        else floor(*asked, json.loads(Path(sys.argv[4]).read_text())["sizes"])
    )
    print("\n" + json.dumps(figures))
