"""Ensembles: the mean of their members' probabilities, from checkpoints and in a Trainer."""

import functools

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import seqlight
from seqlight import GRUCell, SequenceClassifier
from seqlight.training.calibration import Calibration
from seqlight.training.ensemble import SequenceEnsemble, average_logits, join_checkpoints

LENGTHS = torch.tensor([7, 3, 2, 1])
TARGETS = [("binary", 1), ("multiclass", 3), ("multilabel", 2)]


def models(size=3, **arguments):
    made = []
    for seed in range(size):
        torch.manual_seed(seed)
        made.append(SequenceClassifier(functools.partial(GRUCell, hidden_size=4), **{"input_size": 2, **arguments}))
    return made


@pytest.mark.parametrize(("target", "num_outputs"), TARGETS)
@pytest.mark.parametrize("tokens", [False, True])
def test_probabilities_are_the_mean_of_the_members(target, num_outputs, tokens):
    kind = {"vocab_size": 5, "input_size": None} if tokens else {}
    members = models(
        target=target, num_outputs=num_outputs, class_weights=[1.0, 2.0, 3.0][: max(num_outputs, 2)], **kind
    )
    ensemble = SequenceEnsemble.of(members)
    inputs = torch.randint(5, (4, 7)) if tokens else torch.randn(4, 7, 2)
    mean = torch.stack([member.probabilities(inputs, LENGTHS) for member in members]).mean(0)
    torch.testing.assert_close(ensemble.probabilities(inputs, LENGTHS), mean)
    logits = ensemble(inputs, LENGTHS)
    torch.testing.assert_close(ensemble.classify(ensemble.features(inputs, LENGTHS), LENGTHS), logits)
    assert not any(module.training for module in ensemble.modules())
    assert ensemble.class_weights.tolist() == members[0].class_weights.tolist()


@pytest.mark.parametrize("target", ["binary", "multiclass"])
def test_logits_are_exact_where_probabilities_round_to_1(target):
    logits = torch.tensor([[40.0, -80.0], [42.0, -60.0]], dtype=torch.float64)
    numbers = logits.numpy().astype(np.longdouble)
    if target == "binary":
        p, q = (1 / (1 + np.exp(sign * numbers)) for sign in (-1, 1))
        expected = np.log(p.mean(0)) - np.log(q.mean(0))
        found = average_logits(list(logits), target)
    else:
        found = average_logits(list(logits[:, None]), target)[0]
        expected = np.log((np.exp(numbers) / np.exp(numbers).sum(1, keepdims=True)).mean(0))
    np.testing.assert_allclose(found.numpy(), expected.astype(float), rtol=1e-12)


def test_checkpoint_of_members_gives_the_same_ensemble(tmp_path):
    data = seqlight.SyntheticSequences(seqlight.SumSign(), num_train=32, num_val=8, num_test=24)
    members, paths = models(input_size=data.input_size), []
    for number, member in enumerate(members):
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(member, data)
        trainer.save_checkpoint(paths.append(tmp_path / f"{number}.ckpt") or paths[-1])
    join_checkpoints(paths, path := tmp_path / "ensemble.ckpt")
    ensemble, batch = seqlight.load(path), data.split("test")
    assert type(ensemble) is SequenceEnsemble
    mean = torch.stack([member.eval().probabilities(batch.inputs, batch.lengths) for member in members]).mean(0)
    torch.testing.assert_close(ensemble.probabilities(batch.inputs, batch.lengths), mean)
    assert len(seqlight.load_data(path).split("test").lengths) == 24
    [metrics] = trainer.test(ensemble, seqlight.load_data(path), verbose=False)
    accuracy = ((mean > 0.5) == (batch.targets > 0.5)).float().mean().item()
    assert metrics["test/accuracy"] == pytest.approx(accuracy)
    alone = [trainer.test(seqlight.load(each), data, verbose=False)[0]["test/accuracy"] for each in paths]
    assert [each["accuracy"] for each in ensemble.take_members()] == pytest.approx(alone)
    with pytest.raises(MisconfigurationException, match="trained one by one"):
        trainer.fit(ensemble, data)
    torch.manual_seed(0)
    other = SequenceClassifier(functools.partial(GRUCell, hidden_size=5), input_size=data.input_size)
    pl.Trainer(
        max_steps=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    ).fit(other, data)
    other.trainer.save_checkpoint(tmp_path / "other.ckpt")
    with pytest.raises(seqlight.CheckpointError, match="hold different models"):
        join_checkpoints([paths[0], tmp_path / "other.ckpt"], tmp_path / "refused.ckpt")


def test_refusals():
    one, two = models(2)
    with pytest.raises(ValueError, match="made with the same arguments"):
        SequenceEnsemble.of([])
    with pytest.raises(ValueError, match="made with the same arguments"):
        SequenceEnsemble.of([one, SequenceClassifier(input_size=2)])
    with pytest.raises(ValueError, match="size must be at least 1"):
        SequenceEnsemble(functools.partial(SequenceClassifier, input_size=2), 0, input_size=2)
    with pytest.raises(ValueError, match="input_size must be that of the members, 2, got 3"):
        SequenceEnsemble(functools.partial(SequenceClassifier, input_size=2), 2, input_size=3)
    with pytest.raises(TypeError, match="member: expected what makes a SequenceClassifier, got a SequenceEnsemble"):
        SequenceEnsemble(lambda: SequenceEnsemble.of([one, two]), 2, input_size=2)
    # Training arguments may differ: Lightning's finder of learning rates sets one of its own for each.
    SequenceEnsemble.of(
        [one, SequenceClassifier(functools.partial(GRUCell, hidden_size=4), input_size=2, learning_rate=1)]
    )


def test_threshold_and_temperature_are_those_of_the_mean_probabilities(tmp_path):
    data = seqlight.SyntheticSequences(seqlight.SumSign(), num_train=32, num_val=40, num_test=8)
    members = models(input_size=data.input_size, threshold="f1", temperature_scaling=True)
    ensemble = SequenceEnsemble.of(members)
    assert not ensemble.calibration.is_learned
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.validate(ensemble, data, verbose=False)
    batch, expected = data.split("val"), Calibration("binary", 1, "f1", True)
    with torch.no_grad():
        expected.learn(logits := ensemble(batch.inputs, batch.lengths), batch.targets)
    torch.testing.assert_close(dict(ensemble.calibration.state_dict()), dict(expected.state_dict()))
    assert ensemble.calibration.temperature != 1
    probabilities = ensemble.probabilities(batch.inputs, batch.lengths)
    torch.testing.assert_close(probabilities, torch.sigmoid(logits / expected.temperature))
