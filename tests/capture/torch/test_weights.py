"""Weights from the files that people have: where they stand, their names, what is refused."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fieldwise.capture.torch.weights import load_weights
from fieldwise.errors import UsageError


class Net(nn.Module):
    """A convolution with a norm, and a head."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2))
        self.head = nn.Linear(2, classes)


class Touches:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.fixture
def state():
    torch.manual_seed(3)
    return {
        name: torch.rand_like(tensor) + 1 if tensor.is_floating_point() else tensor
        for name, tensor in Net().state_dict().items()
    }


def loaded(path, model=None):
    """What is said, and the weights that the model has then."""
    model = model or Net()
    return str(load_weights(model, Path(path))), model.state_dict()


def refusal(path, model=None):
    with pytest.raises(UsageError) as caught:
        load_weights(model or Net(), Path(path))
    return str(caught.value)


def is_same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin", ""])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_is_read_from_what_torch_has_saved(tmp_path, state, suffix, zipped):
    path = tmp_path / f"w{suffix}"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    said, found = loaded(path)
    assert said == ""
    assert is_same(found, state)


@pytest.mark.parametrize(
    "place", ["state_dict", "model", "model_state_dict", "ema", "net", "ema.state_dict", "mine"]
)
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
def test_a_state_is_found_where_trainers_put_it_and_its_place_is_said(
    tmp_path, state, place, prefix
):
    held = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    for key in reversed(place.split(".")):
        held = {key: held}
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
    torch.save({"epoch": 3, "optimizer": optimizer, **held}, tmp_path / "best.ckpt")
    said, found = loaded(tmp_path / "best.ckpt")
    without = f"; without the prefix '{prefix}'" if prefix else ""
    assert said.endswith(f"best.ckpt': 9 entries, under '{place}'{without}")
    assert is_same(found, state)


def test_of_several_states_the_usual_one_is_taken_and_the_others_are_named(tmp_path, state):
    ema = {name: tensor * 2 for name, tensor in state.items()}
    path = tmp_path / "best.pt"
    torch.save({"ema": ema, "model": state}, path)
    said, found = loaded(path)
    assert said == (
        f"weights of {str(path)!r}: 9 entries, under 'model'; 'ema' would fit too, and "
        f"{path}::ema names it"
    )
    assert is_same(found, state)
    assert is_same(loaded(f"{path}::ema")[1], ema)
    assert refusal(f"{path}::emma") == (
        f"{str(path)!r} has no weights under 'emma'; did you mean 'ema'?"
    )


def test_shards_are_read_by_their_index_and_none_from_elsewhere(tmp_path, state):
    names = list(state)
    save_file({name: state[name] for name in names[:4]}, tmp_path / "a.safetensors")
    save_file({name: state[name] for name in names[4:]}, tmp_path / "b.safetensors")
    shards = {name: "a.safetensors" if name in names[:4] else "b.safetensors" for name in names}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    assert is_same(loaded(index)[1], state)
    index.write_text(json.dumps({"weight_map": {**shards, "more": "b.safetensors"}}))
    assert "looks for 'more' in 'b.safetensors', which lacks 1 of 6" in refusal(index)
    index.write_text(json.dumps({"weight_map": {"x": "../a.safetensors"}}))
    assert "names the shard '../a.safetensors', which is not beside it" in refusal(index)
    index.write_text("[]")
    assert "is no index of weights" in refusal(index)


def test_missing_entries_are_refused_in_counts_with_the_first_names(tmp_path, state):
    del state["head.bias"], state["stem.0.weight"]
    torch.save(state | {"other.bias": torch.ones(2)}, tmp_path / "w.pt")
    assert refusal(tmp_path / "w.pt").endswith(
        "w.pt' lacks 2 of the 9 entries of the model: 'stem.0.weight', 'head.bias'. It has "
        "'other.bias' instead. Give this model's weights."
    )


def test_another_shape_is_told_with_both(tmp_path):
    torch.save(Net(classes=5).state_dict(), tmp_path / "w.pt")
    assert refusal(tmp_path / "w.pt").endswith(
        "is of another model: 'head.weight' is 5x2 in the file and 2x2 in the model, and 1 more "
        "differ."
    )


def test_heads_that_the_model_lacks_are_left_over_and_said(tmp_path, state):
    more = {"loss.weight": torch.ones(2), "loss.bias": torch.ones(2)}
    torch.save({f"model.{name}": held for name, held in state.items()} | more, tmp_path / "w.pt")
    said, found = loaded(tmp_path / "w.pt")
    assert said.endswith(
        "without the prefix 'model.'; 2 entries of the file left over ('loss.weight', 'loss.bias')"
    )
    assert is_same(found, state)


def test_more_layers_in_a_part_that_the_model_has_are_another_model(tmp_path, state):
    torch.save(state | {"stem.3.weight": torch.ones(2)}, tmp_path / "w.pt")
    assert (
        "has 1 entry that the model lacks in parts that it has: 'stem.3.weight'; it is of another "
        "model" in refusal(tmp_path / "w.pt")
    )


def test_counters_may_be_missing_and_stay_as_they_were(tmp_path, state):
    del state["stem.1.num_batches_tracked"]
    torch.save(state, tmp_path / "w.pt")
    said, _ = loaded(tmp_path / "w.pt")
    assert said.endswith("1 integer buffer as the model makes them ('stem.1.num_batches_tracked')")


def test_tied_weights_need_one_entry(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    state = {name: held for name, held in model.state_dict().items() if name != "1.weight"}
    torch.save({name: held * 0 + 3 for name, held in state.items()}, tmp_path / "w.pt")
    load_weights(model, tmp_path / "w.pt")
    assert model[1].weight.eq(3).all()


@pytest.mark.parametrize("whole", [True, False])
def test_code_in_a_pickle_is_never_run_and_is_named(tmp_path, state, whole):
    mark, path = tmp_path / "ran", tmp_path / "w.ckpt"
    torch.save(Touches(mark) if whole else {"state_dict": state, "hparams": Touches(mark)}, path)
    said = refusal(path)
    assert said.startswith(
        f"{str(path)!r} holds '{os.name}.mkdir' beside tensors: loading it runs code, and "
        "fieldwise never does."
    )
    clean = str(tmp_path / "w.clean.pt")
    assert f"weights_only=False); torch.save(found['state_dict'], {clean!r})" in said
    assert not mark.exists()


def test_a_plain_pickle_is_never_loaded(tmp_path):
    mark, path = tmp_path / "ran", tmp_path / "w.pt"
    path.write_bytes(pickle.dumps(Touches(mark)))
    assert (
        "is no whole file of weights as torch.save writes it; another pickle could run any code"
        in refusal(path)
    )
    assert not mark.exists()


def test_a_model_saved_whole_is_named_by_its_class_first(tmp_path):
    torch.save(Net(), tmp_path / "w.pt")
    assert f"holds '{Net.__module__}.Net', " in refusal(tmp_path / "w.pt")


def test_the_variable_of_the_environment_that_lets_torch_unpickle_changes_nothing(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save(Touches(tmp_path / "ran"), tmp_path / "w.pt")
    refusal(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


def test_a_file_without_weights_says_what_it_holds(tmp_path):
    torch.save({"epoch": 3, "best": 0.5}, tmp_path / "w.pt")
    assert refusal(tmp_path / "w.pt").endswith(
        "holds no weights: tensors by name are looked for, at its top or under a name like "
        "'state_dict', and its entries are 'epoch', 'best'."
    )
    torch.save([1, 2], tmp_path / "w.pt")
    assert refusal(tmp_path / "w.pt").endswith("and it is a list.")


def test_tensors_without_plain_values_are_refused(tmp_path, state):
    state["head.bias"] = torch.ones(2).to_sparse()
    torch.save(state, tmp_path / "w.pt")
    assert "holds 'head.bias' without plain values" in refusal(tmp_path / "w.pt")


def test_what_is_cut_short_is_refused(tmp_path, state):
    torch.save(state, tmp_path / "w.pt")
    whole = (tmp_path / "w.pt").read_bytes()
    for length in (0, 3, 40, len(whole) // 2, len(whole) - 30):
        (tmp_path / "w.pt").write_bytes(whole[:length])
        assert "with torch.save(model.state_dict(), FILE)" in refusal(tmp_path / "w.pt")
