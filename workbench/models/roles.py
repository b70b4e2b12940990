"""Roles on one base: a LoRA adapter each for policy, value and reward, and fp32 heads.

The reference is what the policy started from, frozen: adapters off, or a frozen copy of the
adapter that the policy was copied from.
"""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, PeftType, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper, load_peft_weights, set_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn

from workbench.errors import ConfigError, ModelError, first_line
from workbench.models.bounds import PATTERN_SECONDS, within
from workbench.models.fast import lora_products
from workbench.models.loaded_base import Base
from workbench.models.model_kinds import (
    beside_experts,
    beside_text,
    expert_weights,
    head_names,
    is_classifier,
    last_linear,
    read_by_kernels,
)
from workbench.models.source import CARD, check_no_whole_layers, check_rank, model_json
from workbench.settings import RunSettings

#: Where transformers' sequence classifiers keep their head.
HEAD_KEY = "base_model.model.score.weight"


class Roles:
    """Adapters and heads by name on one frozen base.

    Switching a role sets which adapter acts and nothing else: ``requires_grad`` was decided when
    the role was added. (PEFT's own ``set_adapter`` and ``disable_adapter`` change it on the way.)
    All layers read it from one list, so that a switch is one write whatever their number.
    """

    def __init__(self, base: Base, settings: RunSettings, *, unpacks: bool = False) -> None:
        """Hold a base.

        Args:
            base: frozen.
            settings: rank and targets of adapters, and whether layers forget their activations.
            unpacks: whether a base in 4 bits is unpacked on a card, for good, beside itself.
        """
        self.base, self.unpacks = base, unpacks
        self.settings = settings
        self.heads: dict[str, nn.Linear] = {}  # of decoders; an encoder's is in its adapter
        self._headed: set[str] = set()
        self._wrapped: list[ModulesToSaveWrapper] = []
        self._trainable: dict[str, bool] = {}
        self._peft: PeftModel | None = None
        self._layers: list[LoraLayer] = []
        self._acting: list[str] = []  # every layer's active adapters: one, or none
        if settings.recomputes:
            # a layer runs now, and in the backward pass once more: in the role that acts now
            base.recompute(lambda: (nullcontext(), self.acting(self.role)))

    def add(
        self,
        name: str,
        *,
        trainable: bool,
        source: Path | None = None,
        copy_of: str | None = None,
        seed: int = 0,
    ) -> None:
        """Add an adapter: fresh (adds nothing at first), from a folder, or a copy of another.

        Raises:
            ModelError: the adapter in the folder is no LoRA, or does not fit this base.
            ConfigError: a fresh adapter of rank 0.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._attach(name, self._config(source, copy_of))
        self._trainable[name] = trainable
        if source is not None:
            self._load_folder(name, source)
        elif copy_of is not None:
            self.load_state(name, self.state(copy_of))
        self._settle()

    def _config(self, source: Path | None, copy_of: str | None) -> PeftConfig:
        if source is not None:
            if not self.base.encoder:
                check_no_whole_layers(source)
            check_rank(source)
            try:
                config = PeftConfig.from_pretrained(str(source))
            except Exception as error:
                raise _unreadable(source, error) from error
            if config.peft_type != PeftType.LORA:
                raise ModelError(
                    f"this adapter is of the kind {config.peft_type}",
                    where=str(source),
                    fix="give a LoRA adapter; roles share one base by switching LoRA layers",
                )
        elif copy_of is not None:
            assert self._peft is not None
            config = PeftConfig.from_peft_type(**self._peft.peft_config[copy_of].to_dict())
        else:
            if self.settings.lora_rank == 0:
                raise ConfigError(
                    "a role on a shared base needs an adapter",
                    where="lora_rank = 0",
                    fix="set lora_rank above 0",
                )
            config = LoraConfig(
                r=self.settings.lora_rank,
                lora_alpha=self.settings.lora_alpha,  # pyright: ignore[reportArgumentType]
                lora_dropout=0.0,
                target_modules=self._targets(),
                exclude_modules=self._no_adapter(),
            )
        # dropout would draw each score by lot, and the ratio with it
        config.lora_dropout = 0.0  # pyright: ignore[reportAttributeAccessIssue]
        config.task_type = None
        config.inference_mode = False
        whole = None if not self.base.encoder else self.whole_heads()
        if whole and source is not None:  # what another tool took for the head
            whole = list(getattr(config, "modules_to_save", None) or whole)
        config.modules_to_save = whole  # pyright: ignore[reportAttributeAccessIssue]
        return config

    def whole_heads(self) -> list[str]:
        """Modules of a classifier that are trained whole, without an adapter."""
        return [] if self.base.answers else head_names(self.base.model)

    def own_head(self, name: str, module: str) -> nn.Module:
        """A module of an encoder's head as a role has it."""
        layer = self.base.model.get_submodule(module)
        return layer.modules_to_save[name] if isinstance(layer, ModulesToSaveWrapper) else layer

    def _targets(self) -> str | list[str]:
        """The names that get an adapter; of a mixture of experts its attention for all."""
        targets, model = self.settings.target_modules, self.base.model
        if not isinstance(targets, str):
            return list(targets)
        if targets == "all-linear" and expert_weights(model):
            return beside_experts(model)
        return targets

    def _no_adapter(self) -> str | None:
        """A pattern of what gets no adapter; PEFT's own copies of a head are named below it."""
        names = beside_text(self.base.model)
        if self.settings.target_modules == "all-linear":
            names += [*self.whole_heads(), *read_by_kernels(self.base.model)]
        pattern = "|".join(re.escape(name) for name in names)
        return rf"(.*\.)?({pattern})(\..*)?" if names else None

    def _check_patterns(self, config: PeftConfig) -> None:
        """Try an adapter's patterns on the names of this model's layers: one may have no end.

        Raises:
            ModelError: one takes too long.
        """
        names = [getattr(config, name, None) for name in ("target_modules", "exclude_modules")]
        more = [getattr(config, name, None) or {} for name in ("rank_pattern", "alpha_pattern")]
        patterns = [p for p in (*names, *(key for table in more for key in table)) if p]
        slow = ModelError(
            f"a pattern of the adapter takes longer than {PATTERN_SECONDS:g} s to find its layers",
            where=f"{self.base.source.reference}: target_modules or rank_pattern",
            fix="name the layers in adapter_config.json, such as q_proj and v_proj",
        )
        with within(PATTERN_SECONDS, slow), suppress(re.error):
            for pattern in (p for p in patterns if isinstance(p, str)):
                tried = re.compile(pattern)
                for name, _ in self.base.model.named_modules():
                    tried.fullmatch(name)
                    tried.match(name)

    def _attach(self, name: str, config: PeftConfig) -> None:
        self._check_patterns(config)
        try:
            if self._peft is None:
                self._peft = PeftModel(self.base.model, config, adapter_name=name)
            else:
                self._peft.add_adapter(name, config)
        except Exception as error:
            if isinstance(error, MemoryError | torch.OutOfMemoryError):
                raise
            raise ModelError(
                f"the adapter cannot be put on this model: {first_line(error)}",
                where=f"{self.base.source.reference}, role {name}",
                fix="set target_modules to names of linear layers that the model has",
            ) from error

    def _load_folder(self, name: str, source: Path) -> None:
        self._check_fingerprint(source)
        try:
            weights = load_peft_weights(str(source), device="cpu")
        except Exception as error:
            raise _unreadable(source, error) from error
        head = None if self.base.encoder else weights.pop(HEAD_KEY, None)
        own = self.state(name)
        if set(weights) != set(own) or any(weights[k].shape != own[k].shape for k in own):
            raise _another_base(source, self.base)
        self.load_state(name, weights)
        if head is not None:
            self.add_head(name, trainable=self._trainable[name], weight=head)
        if self.base.encoder:
            self._headed.add(name)

    def has_head(self, name: str) -> bool:
        """Whether a role has a head that was trained, or given."""
        return name in self.heads or name in self._headed

    def _check_fingerprint(self, source: Path) -> None:
        """An adapter for another base of the same shape fits, and says nothing of value."""
        card = source / CARD
        fingerprint = model_json(card).get("fingerprint")
        if fingerprint is not None and self.base.fingerprint not in (None, fingerprint):
            raise _another_base(source, self.base, "of the same shape, with other weights")

    def add_head(
        self, name: str, *, trainable: bool, weight: Tensor | None = None, seed: int = 0
    ) -> nn.Linear:
        """A fp32 head ``(D,) -> (1,)``: given weights, or N(0, 1/(D+1)) (Stiennon et al. 2020).

        On a float64 base it is float64.
        """
        width = self.base.width
        wide = torch.promote_types(self.base.dtype, torch.float32)
        head = nn.Linear(width, 1, bias=False, dtype=wide)
        with torch.no_grad():
            if weight is None:
                weight = _drawn(width, seed)
            head.weight.copy_(weight.reshape(1, width))
        head.to(self.base.device).requires_grad_(trainable)
        self.heads[name] = head
        return head

    def draw_head(self, name: str, *, start: str, seed: int) -> bool:
        """Give a role a score, unless its base came with a head; returns whether it is a new one.

        Args:
            name: the role.
            start: ``zero``: each answer scores 0, so that the first loss is ln 2 whatever the
                hidden states are; ``classic``: N(0, 1/(D+1)) (Stiennon et al. 2020), which
                supposes hidden states of a norm of about sqrt(D).
            seed: of what is drawn.
        """
        base = self.base
        if base.trained_head is not None or (base.encoder and is_classifier(base.model.config)):
            if not base.encoder:
                self.add_head(name, trainable=self._trainable[name], weight=base.trained_head)
            return False
        if not base.encoder:
            self.add_head(name, trainable=self._trainable[name], seed=seed)
        layer = self.score_layer(name)
        with torch.no_grad():
            layer.weight.copy_(_drawn(layer.in_features, seed))
            if start == "zero":
                layer.weight.zero_()
            if layer.bias is not None:
                layer.bias.zero_()
        return True

    def score_layer(self, name: str) -> nn.Linear:
        """The layer ``(D,) -> (1,)`` that gives a role's score: its head, or an encoder's last."""
        if name in self.heads:
            return self.heads[name]
        return last_linear(self._wrapped[-1].modules_to_save[name])

    def _settle(self) -> None:
        """Collect the LoRA layers and own heads, and set each role's requires_grad once."""
        modules = list(self.base.model.modules())
        self._layers = [m for m in modules if isinstance(m, LoraLayer)]
        self._wrapped = [m for m in modules if isinstance(m, ModulesToSaveWrapper)]
        for wrapper in self._wrapped:
            wrapper.original_module.requires_grad_(False)
            for copy in wrapper.modules_to_save.values():
                if not copy._forward_pre_hooks:
                    copy.float().register_forward_pre_hook(_in_fp32)
        lora_products.take_over_all(self.base.model, unpacks=self.unpacks)
        for layer in (*self._layers, *self._wrapped):
            layer._disable_adapters, layer._active_adapter = False, self._acting
        for name, trainable in self._trainable.items():
            for parameter in self.weights(name):
                parameter.requires_grad_(trainable)
        self._switch(None)

    @property
    def role(self) -> str | None:
        """The role that acts now; None means adapters off."""
        return self._acting[0] if self._acting else None

    def _switch(self, name: str | None) -> None:
        self._acting[:] = [] if name is None else [name]

    @contextmanager
    def acting(self, name: str | None) -> Iterator[None]:
        """Within the block the base acts in this role; None means adapters off."""
        if name is not None and name not in self._trainable:
            raise KeyError(name)
        before = self.role
        self._switch(name)
        try:
            yield
        finally:
            self._switch(before)

    def parameters(self, name: str) -> list[nn.Parameter]:
        """The adapter's weights (without its head), in a fixed order."""
        parameters: list[nn.Parameter] = []
        for layer in self._layers:
            for table in (layer.lora_A, layer.lora_B):
                if name in table:
                    parameters.extend(table[name].parameters())
        return parameters

    def weights(self, name: str) -> list[nn.Parameter]:
        """All that a role consists of: its adapter and its head, in a fixed order."""
        weights = self.parameters(name)
        for wrapper in self._wrapped:
            if name in wrapper.modules_to_save:
                weights.extend(wrapper.modules_to_save[name].parameters())
        if name in self.heads:
            weights.extend(self.heads[name].parameters())
        return weights

    def state(self, name: str) -> dict[str, Tensor]:
        """The adapter's tensors under PEFT's saved names (copies are the caller's to make)."""
        assert self._peft is not None
        return get_peft_model_state_dict(self._peft, adapter_name=name)

    def load_state(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Put tensors with PEFT's saved names into the adapter."""
        assert self._peft is not None
        set_peft_model_state_dict(self._peft, dict(tensors), adapter_name=name)

    def save(self, name: str, folder: Path, *, task: str, extra: dict[str, Any]) -> None:
        """Write an adapter (and its head) so that transformers and peft load it alone.

        Args:
            name: the role.
            folder: made where it is missing.
            task: PEFT's task type, ``CAUSAL_LM`` or ``SEQ_CLS``.
            extra: what goes into ``workbench.json`` beside the base's name.
        """
        assert self._peft is not None
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {k: v.detach().cpu().contiguous() for k, v in self.state(name).items()}
        if task == "SEQ_CLS" and not self.base.encoder:
            tensors[HEAD_KEY] = self.heads[name].weight.detach().cpu().contiguous()
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        config: dict[str, Any] = self._peft.peft_config[name].to_dict()
        config |= {
            "base_model_name_or_path": self.base.source.base,
            "inference_mode": True,
            "task_type": task,
        }
        if not self.base.encoder:
            config["modules_to_save"] = ["score"] if task == "SEQ_CLS" else None
        (folder / "adapter_config.json").write_text(_json(config))
        self.base.tokenizer.save_pretrained(str(folder))
        facts = self.base.facts
        card: dict[str, Any] = {"base": facts["reference"], **extra}
        card |= {name: facts[name] for name in ("quantization", "dtype", "notices")}
        card["fingerprint"] = self.base.fingerprint
        if self.base.source.tokenizer != self.base.source.base:
            card["own_tokenizer"] = True
        if not self.base.answers:
            card["kept_in_full"] = self.whole_heads()
        (folder / CARD).write_text(_json(card))


def _unreadable(folder: Path, error: Exception) -> ModelError:
    return ModelError(
        f"this adapter cannot be read: {first_line(error)}",
        where=str(folder),
        fix="restore adapter_config.json and adapter_model.safetensors, or save the adapter again",
    )


def _another_base(folder: Path, base: Base, how: str = "") -> ModelError:
    return ModelError(
        "this adapter was made for another base",
        where=", ".join(part for part in (f"{folder} on {base.source.reference}", how) if part),
        fix="give the adapter's own base, or train it on this one",
    )


def _drawn(width: int, seed: int) -> Tensor:
    """A head's weights ``(1, D)`` from N(0, 1/(D+1))."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, width, generator=generator) / math.sqrt(width + 1)


def _in_fp32(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """A head is kept in fp32, whatever its base computes in."""
    return tuple(
        x.float() if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs
    )


def _json(value: dict[str, Any]) -> str:
    def plain(item: Any) -> Any:
        return sorted(item) if isinstance(item, set) else str(item)

    return json.dumps(value, indent=2, default=plain, sort_keys=True) + "\n"
