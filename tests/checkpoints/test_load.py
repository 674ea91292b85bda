"""Loading changes nothing outside the loading thread: other models, random numbers, what can be imported."""

import threading
from functools import partial

import jsonargparse
import lightning.pytorch as pl
import pytest
import torch

import seqlight
from seqlight import (
    CheckpointError,
    GRUCell,
    LSTMCell,
    SealedCheckpointIO,
    SequenceClassifier,
    SumSign,
    SyntheticSequences,
)
from seqlight.checkpoints.load import check_sizes
from tests.cli.test_configurations import CELLS
from tests.conftest import seqlight_run
from tests.plain_data import assert_same


def new_model(num_layers=2):
    return SequenceClassifier(partial(LSTMCell, hidden_size=4), input_size=1, num_layers=num_layers)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A checkpoint of an untrained model."""
    folder = tmp_path_factory.mktemp("threads")
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = pl.Trainer(max_steps=0, plugins=[SealedCheckpointIO()], enable_checkpointing=False, **options)
    trainer.fit(new_model(), SyntheticSequences(SumSign(max_length=4), num_train=8, num_val=8, num_test=8))
    trainer.save_checkpoint(folder / "a.ckpt")
    return folder / "a.ckpt"


def test_twenty_threads_load_while_others_build_models(path):
    results, start = [], threading.Barrier(30)

    def run(function):
        start.wait()
        try:
            results.append(function())
        except Exception as error:
            results.append(error)

    functions = 20 * [lambda: seqlight.load(path)] + 10 * [lambda: new_model(num_layers=20)]
    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result for result in results if isinstance(result, Exception)] == []
    expected = dict(torch.load(path, weights_only=True)["state_dict"])
    loaded = [model for model in results if len(model.recurrent.layers) == 2]
    assert len(loaded) == 20
    for model in loaded:
        assert_same(dict(model.state_dict()), expected)


@pytest.mark.parametrize("name", CELLS)
def test_loading_draws_no_random_numbers_of_others(name, tmp_path, path):
    contents = torch.load(path, weights_only=True)
    model = SequenceClassifier(partial(getattr(seqlight, name), hidden_size=4), input_size=1)
    contents["state_dict"] = model.state_dict()
    contents["seqlight"]["model"] = {"class_path": "seqlight.SequenceClassifier", "init_args": dict(model.hparams)}
    SealedCheckpointIO().save_checkpoint(contents, tmp_path / "b.ckpt")
    before = torch.get_rng_state()
    loaded = seqlight.load(tmp_path / "b.ckpt")
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(dict(loaded.state_dict()), dict(model.state_dict()))


def test_limit_of_parameters_is_exact():
    weights = new_model().state_dict()
    check_sizes(new_model, weights)
    with pytest.raises(RuntimeError, match="the model has more parameters than the checkpoint"):
        check_sizes(partial(new_model, 2**30), weights)


def test_command_leaves_imports_as_they_were(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = dict(jsonargparse._common.parsing_settings)
    quiet = ("--trainer.enable_progress_bar=false", "--device=cpu", "--num_threads=1")
    status, _, err = seqlight_run("test", f"--ckpt_path={path}", *quiet)
    assert status == 0, err
    assert jsonargparse._common.parsing_settings == before
    status, _, err = seqlight_run("test", f"--ckpt_path={path}", "--model.cell=collections.Counter", *quiet)
    assert status == 2, err
    assert jsonargparse._common.parsing_settings == before


class Masked(SequenceClassifier):
    """It has a buffer that is infinite on purpose."""

    def __init__(self):
        super().__init__(partial(GRUCell, hidden_size=2), input_size=1)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))


def with_value(path, folder, name, value):
    contents = torch.load(path, weights_only=True)
    contents.pop("sealed")
    contents["state_dict"][name].view(-1)[-1] = value
    SealedCheckpointIO().save_checkpoint(contents, folder / "b.ckpt")
    return folder / "b.ckpt"


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite_are_refused(value, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    broken = with_value(path, tmp_path, "head.bias", value)
    message = r"1 of its weights and buffers are NaN or infinite: 'head\.bias'"
    with pytest.raises(CheckpointError, match=message):
        seqlight.load(broken)
    options = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "accelerator": "cpu"}
    trainer = pl.Trainer(plugins=[SealedCheckpointIO()], enable_model_summary=False, **options)
    with pytest.raises(CheckpointError, match=message):
        trainer.test(
            new_model(), SyntheticSequences(SumSign(max_length=4), num_test=8), ckpt_path=broken, verbose=False
        )
    quiet = ("--trainer.enable_progress_bar=false", "--device=cpu", "--num_threads=1")
    for verb in ("test", "predict", "fit") if value != value else ("test",):
        status, _, err = seqlight_run(verb, f"--ckpt_path={broken}", "--trainer.max_epochs=2", *quiet)
        assert (status, "'head.bias'" in err) == (3, True), err
    assert not (tmp_path / "predictions.csv").exists()


def test_buffers_can_be_infinite_but_not_nan(tmp_path):
    model = Masked()
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = pl.Trainer(max_steps=0, plugins=[SealedCheckpointIO()], enable_checkpointing=False, **options)
    trainer.fit(model, SyntheticSequences(SumSign(max_length=4), num_train=8, num_val=8))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(seqlight.load(tmp_path / "a.ckpt").mask, model.mask)
    with pytest.raises(CheckpointError, match="'mask'"):
        seqlight.load(with_value(tmp_path / "a.ckpt", tmp_path, "mask", torch.nan))
