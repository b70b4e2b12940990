"""Load a base once: in 4 bits where it can be, frozen, with the CPU guard on every path."""

import gc
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from workbench.errors import ConfigError, ModelError, WorkbenchError, first_line
from workbench.models.bounds import check_sizes
from workbench.models.loaded_base import Base
from workbench.models.model_kinds import (
    beside_text,
    expert_weights,
    head_names,
    is_classifier,
    is_encoder,
    last_linear,
)
from workbench.models.self_test import self_test
from workbench.models.source import TOKENIZER, Source
from workbench.models.special_tokens import settle_tokens
from workbench.settings import RunSettings

LANGUAGE_MODELS = (
    "AutoModelForCausalLM",
    "AutoModelForImageTextToText",
    "AutoModelForMultimodalLM",  # that hear; not in every transformers 5
)
"""Classes of transformers that answer, those of text alone first."""
DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def pick_device(name: str) -> torch.device:
    """The device that the setting asks for.

    Raises:
        ConfigError: CUDA was asked for and this machine has none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "CUDA was asked for and torch sees no GPU",
            where="device = 'cuda'",
            fix="use device='auto' or 'cpu', or install a CUDA build of torch on a GPU machine",
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """float32 on a CPU; on a GPU bfloat16, or float16 where the card has no bfloat16 (T4)."""
    if name != "auto":
        return DTYPES[name]
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability()[0] >= 8 else torch.float16


def guard_cpu_4bit(model: nn.Module, dtype: torch.dtype | None = None) -> int:
    """Keep bitsandbytes from repacking 4-bit weights on CPUs with AVX512-BF16.

    At the first no-grad eval forward bitsandbytes 0.50 repacks each ``Linear4bit`` in place for a
    kernel without a backward pass; later gradients are silently wrong. Must run before any
    forward. Returns the number of guarded layers, which compute in ``dtype`` from here on: files
    in 4 bits name another.
    """
    guarded = 0
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010  (untyped there)
            if dtype is not None:
                setattr(module, "compute_dtype", dtype)  # noqa: B010
            guarded += 1
    return guarded


def load_base(source: Source, settings: RunSettings) -> Base:
    """Load the base and tokenizer of a source, frozen, in eval mode, and test them.

    Raises:
        ConfigError: the device asked for is absent.
        ModelError: the folder or hub id cannot be loaded, or has no EOS token; or what is computed
            of it is not what its own forward computes.
    """
    quantization, notices = _quantization(settings.quantization)
    _quiet()
    base = _loaded(source, settings, quantization, list(notices))
    _describe_parts(base)
    try:
        self_test(base)
        return base
    except ModelError as error:
        with cannot_load(source.base):
            stored = stored_quantization(config_of(source.base))
        if base.quantization != "nf4" or stored:
            raise
        why = error.what
    del base  # some models read weights that 4 bits have packed; are they right without?
    gc.collect()
    base = _loaded(source, settings, "none", [*notices, f"not quantised: in 4 bits {why}"])
    _describe_parts(base)
    self_test(base)
    return base


def _loaded(source: Source, settings: RunSettings, quantization: str, notices: list[str]) -> Base:
    """A base that is not tested yet."""
    device = pick_device(settings.device)
    dtype = pick_dtype(settings.dtype, device)
    with cannot_load(source.base):
        config = config_of(source.base)
        check_sizes(config, source.base)
        stored = stored_quantization(config)
        if stored:
            wanted = settings.quantization
            used = (
                f"the model's files are quantised ({stored}) and are used as they are: "
                f"quantization={wanted!r} changes nothing about them"
            )
            notices[:] = [] if stored == wanted else [used]
            quantization = stored
        encoder, scores = is_encoder(config), is_classifier(config)
        model = _load(source, config, quantization, dtype, device)
    if not encoder:
        source.check_adapter()
    tokenizer = load_tokenizer(source, notices)
    _check_labels(model, source)
    guarded = guard_cpu_4bit(model, dtype)
    if quantization == "nf4":
        quantization = _describe_4bit(model, guarded, notices)
    if quantization == "none":
        model.to(device)  # pyright: ignore[reportArgumentType]
    model.requires_grad_(False)
    model.eval()
    if device.type == "cpu":
        torch.set_num_threads(settings.threads or _threads(model))
    else:  # cuDNN would plan its attention anew, for 50 ms, for every new length of a row
        torch.backends.cuda.enable_cudnn_sdp(False)
    eos_ids = settle_tokens(model, tokenizer, source, notices, encoder=encoder)
    head = None
    if scores and not encoder:
        (name,) = head_names(model)
        head = last_linear(model.get_submodule(name)).weight.detach().float()
    return Base(
        model,
        tokenizer,
        source,
        device,
        dtype,
        quantization,
        eos_ids,
        notices,
        encoder=encoder,
        trained_head=head,
    )


@contextmanager
def cannot_load(path: str) -> Iterator[None]:
    """Within the block what any library raises becomes a ModelError that says how to mend it.

    Raises:
        ModelError: something was raised.
    """
    try:
        yield
    except WorkbenchError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise  # of Rust, where tokenizers are read, a panic is no Exception
        text = first_line(error)
        fix = (
            "check the folder or hub id (and the network), and that it is a causal language "
            "model or a sequence classifier"
        )
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            text = "memory does not suffice"
            fix = "take a smaller model, quantization='nf4', or end what else uses this memory"
        elif isinstance(error, ImportError):
            fix = "install the package that it names, or give the model in another format"
        elif "trust_remote_code" in str(error):
            fix = (
                "the folder brings Python of its own, and none of it is run here: give a model "
                "whose architecture transformers has"
            )
        raise ModelError(f"the model cannot be loaded: {text}", where=path, fix=fix) from error


def config_of(path: str) -> Any:
    """A model's config; Python that its folder brings is refused unasked, also in a terminal."""
    return AutoConfig.from_pretrained(path, trust_remote_code=False)


def auto_class(config: Any) -> Any:
    """The class of transformers that makes a language model: of text, or of more beside it."""
    kinds: list[Any] = [getattr(transformers, name, None) for name in LANGUAGE_MODELS]
    known = (kind for kind in kinds if kind and type(config) in kind._model_mapping)
    return next(known, AutoModelForCausalLM)


def load_tokenizer(source: Source, notices: list[str]) -> PreTrainedTokenizerBase:
    """The tokenizer: an adapter's own, with its chat template, where its folder brings one.

    Raises:
        ModelError: it cannot be loaded.
    """
    own = source.adapter if source.tokenizer != source.base else None
    whole = own is not None and (own / TOKENIZER[0]).is_file()
    folder = source.tokenizer if whole else source.base
    with cannot_load(folder):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        if own is not None and not whole:
            tokenizer.chat_template = (own / TOKENIZER[1]).read_text(encoding="utf-8")
    if own is not None:
        what = "the tokenizer, with its chat template," if whole else "the chat template"
        notices.append(f"{what} is the adapter's own")
    return tokenizer


def reads_alike(source: Source, base: Base) -> bool:
    """Whether a model on the same base reads conversations as a base that is loaded does.

    Raises:
        ModelError: its tokenizer cannot be loaded.
    """
    if source.tokenizer == base.source.tokenizer:
        return True
    one, other = load_tokenizer(source, []), base.tokenizer
    template: Any = one.chat_template
    same = (one.get_vocab(), one.eos_token) == (other.get_vocab(), other.eos_token)
    return same and template in (None, other.chat_template)


def _load(
    source: Source, config: Any, quantization: str, dtype: torch.dtype, device: torch.device
) -> Any:
    """A language model, or the sequence classifier that it is or (an encoder) becomes."""
    arguments = _load_arguments(config, quantization, dtype, device)
    if not is_encoder(config) and not is_classifier(config):
        return auto_class(config).from_pretrained(source.base, **arguments)
    if not is_classifier(config):
        config.num_labels = 1
    if "quantization_config" in arguments:
        arguments["quantization_config"].llm_int8_skip_modules = kept_in_full(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a head that the files do not have is drawn here
        return AutoModelForSequenceClassification.from_pretrained(
            source.base, config=config, **arguments
        )


def stored_quantization(config: Any) -> str:
    """How a model's own files are quantised, as a word; empty where they are not."""
    own = getattr(config, "quantization_config", None)
    own = own if own is not None else getattr(config.get_text_config(), "quantization_config", None)
    if own is None:
        return ""
    table: dict[str, Any] = own if isinstance(own, dict) else own.to_dict()
    if table.get("load_in_4bit"):
        return str(table.get("bnb_4bit_quant_type", "fp4"))
    if table.get("load_in_8bit"):
        return "int8"
    return str(table.get("quant_method", "quantised"))


def check_plain(source: Source) -> None:
    """Refuse a base whose own files are quantised: there are no plain weights of it.

    Raises:
        ModelError: they are.
    """
    with cannot_load(source.base):
        config = config_of(source.base)
    if stored_quantization(config):
        raise ModelError(
            "the base's own files are quantised, and nothing is merged into such weights",
            where=source.base,
            fix="give the base in 16 or 32 bits, or keep the adapter as it is",
        )


def load_plain(base: Base, *, scores: bool, dtype: torch.dtype) -> Any:
    """The base's weights once more, not quantised, to write a merged adapter into.

    Args:
        base: as it was loaded.
        scores: as a sequence classifier of one label, padded by the tokenizer's pad token.
        dtype: of the weights.
    """
    path = base.source.base
    # a new head is drawn, and then written over
    with cannot_load(path), torch.random.fork_rng(devices=[]):
        config = config_of(path)
        if not scores:
            return auto_class(config).from_pretrained(path, dtype=dtype)
        config.num_labels, config.pad_token_id = 1, base.tokenizer.pad_token_id
        return AutoModelForSequenceClassification.from_pretrained(path, config=config, dtype=dtype)


def kept_in_full(config: Any) -> list[str]:
    """Modules of a sequence classifier that are not kept in 4 bits: its head."""
    with torch.device("meta"):
        return head_names(AutoModelForSequenceClassification.from_config(config))


def _check_labels(model: Any, source: Source) -> None:
    labels = int(model.config.num_labels)
    if is_classifier(model.config) and labels != 1:
        raise ModelError(
            f"this model tells {labels} classes apart; a reward model gives one number",
            where=source.base,
            fix="give a sequence classifier with num_labels=1, or a model to train one from",
        )


def _threads(model: nn.Module) -> int:
    """How many CPU threads serve a model of this size.

    Below some 50 million weights the threads wait for each other longer than they work, and where
    anything else runs on the machine they wait fifty times longer. A larger model leaves one core
    to the notebook.
    """
    small = sum(p.numel() for p in model.parameters()) < 50_000_000
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # processes of the same run
    return 1 if small else max(1, ((os.cpu_count() or 1) - 1) // beside)


def _load_arguments(
    config: Any, quantization: str, dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    arguments: dict[str, Any] = {"dtype": dtype}
    if quantization != "none":
        arguments["device_map"] = {"": device}
    if quantization == "nf4" and not stored_quantization(config):
        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return arguments


def _quantization(wanted: str) -> tuple[str, list[str]]:
    """What can be had of what was asked, and what to say where it cannot."""
    if wanted == "none":
        return "none", []
    try:
        import bitsandbytes  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        return "none", [f"bitsandbytes cannot be used ({first_line(error)}): not quantised"]
    return "nf4", []


def _describe_4bit(model: nn.Module, guarded: int, notices: list[str]) -> str:
    """Say where 4-bit storage did not take or takes a slower path."""
    if guarded == 0:
        notices.append("no layer of this model suits 4 bits: the base is not quantised")
        return "none"
    odd = [
        name
        for name, module in model.named_modules()
        if hasattr(module, "support_avx512bf16_for_cpu")
        and cast("nn.Linear", module).in_features % 64
    ]
    if odd:
        notices.append(
            f"{len(odd)} layers have an input size that is no multiple of 64 (first: {odd[0]}): "
            "their 4-bit blocks straddle rows, and bitsandbytes takes its slower path there"
        )
    return "nf4"


def _describe_parts(base: Base) -> None:
    """Say what of a model no adapter goes to, and which experts are not in 4 bits."""
    model: Any = base.model
    if names := beside_text(model):
        base.notices.append(f"text alone is learned: no adapter goes to {', '.join(names)}")
    if names := expert_weights(model):
        sizes = {name: weight.numel() for name, weight in model.named_parameters()}
        share = sum(sizes[name] for name in names) / max(sum(sizes.values()), 1)
        kinds = sorted({name.rpartition(".")[2] for name in names})
        notice = "a mixture of experts: with target_modules='all-linear' adapters go to attention"
        if base.quantization == "nf4":
            notice += (
                f"; its experts ({', '.join(kinds)}, e.g. {names[0]}) are not in 4 bits: "
                f"{share:.0%} of the numbers in memory"
            )
        base.notices.append(notice)


def _quiet() -> None:
    """Loading bars and optional-kernel hints do not belong in a run's log."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
