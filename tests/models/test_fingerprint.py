import torch
from safetensors.torch import load_file, save_file

from workbench.models.fingerprint import fingerprint
from workbench.models.source import Source, resolve

from .tiny import load, make_model


def of(folder):
    return fingerprint(resolve(str(folder)))


def test_equal_weights_have_one_fingerprint_however_they_are_loaded(tiny, tmp_path):
    same = make_model(tmp_path / "same")
    assert of(tiny) == of(same) == load(tiny, "nf4").fingerprint
    assert of(tiny) == load(tiny, dtype="bfloat16").fingerprint


def test_other_weights_have_another(tiny, tmp_path):
    assert of(tiny) != of(make_model(tmp_path / "other", seed=1))


def test_one_changed_tensor_is_enough(tmp_path):
    folder = make_model(tmp_path / "m")
    before, path = of(folder), folder / "model.safetensors"
    weights = load_file(path)
    weights["model.layers.1.mlp.down_proj.weight"] *= 1.1
    save_file(weights, path, metadata={"format": "pt"})
    assert of(folder) != before


def test_the_same_weights_in_half_precision_are_the_same(tmp_path):
    folder = make_model(tmp_path / "m")
    before, path = of(folder), folder / "model.safetensors"
    halved = {name: value.to(torch.bfloat16) for name, value in load_file(path).items()}
    save_file(halved, path, metadata={"format": "pt"})
    assert of(folder) == before


def test_scalars_and_vectors_count_too(tmp_path):
    seen = set()
    for value in (1.0, 2.0):
        tensors = {"scale": torch.tensor(value), "bias": torch.ones(3)}
        save_file(tensors, tmp_path / "model.safetensors")
        seen.add(fingerprint(Source(str(tmp_path), None, "m")))
    assert len(seen) == 2 and None not in seen


def test_without_files_there_is_none(tmp_path):
    assert fingerprint(Source(str(tmp_path), None, "m")) is None
    assert fingerprint(Source("owner/never-fetched", None, "owner/never-fetched")) is None
