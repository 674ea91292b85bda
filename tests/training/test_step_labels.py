"""Labels of time steps: padding changes nothing, and loss and metrics are those of all true steps."""

from functools import partial

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from torch import nn

from seqlight import AccuracyByLength, Batch, ElmanCell, GRUCell, RunningParity, SequenceClassifier, SyntheticSequences
from seqlight.common.unused import UnusedArgumentWarning
from seqlight.figures.cell_figure import cell_figure
from seqlight.figures.memory_curve import memory_curve
from tests.training.small_models import curves, trainer

KINDS = {"binary": 1, "multiclass": 3, "multilabel": 2}


def made(target="binary", **options):
    torch.manual_seed(0)
    return SequenceClassifier(
        partial(GRUCell, hidden_size=8),
        input_size=2,
        target=target,
        num_outputs=KINDS[target],
        label_per="step",
        **options,
    )


def batch_of(target, lengths=(5, 1, 3, 4), num_steps=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), num_steps)
    inputs = torch.randn(*shape, 2, generator=generator)
    if target == "multiclass":
        targets = torch.randint(0, 3, shape, generator=generator)
    else:
        targets = torch.randint(0, 2, (*shape, 2) if target == "multilabel" else shape, generator=generator).float()
    return Batch(inputs, targets, torch.tensor(lengths))


def each_sequence(batch):
    for row, length in enumerate(batch.lengths.tolist()):
        yield Batch(*(part[row : row + 1, :length] for part in batch[:2]), batch.lengths[row : row + 1])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("target", KINDS)
def test_logits_are_the_head_of_each_steps_output(target, bidirectional):
    model, batch = made(target, bidirectional=bidirectional), batch_of(target)
    logits = model(batch.inputs, batch.lengths)
    reference = nn.GRU(2, 8, batch_first=True, bidirectional=bidirectional)
    names = [*reference.state_dict()]
    cells = [dict(layer.cell.named_parameters()) for layer in model.recurrent.layers]
    with torch.no_grad():
        for name in names:
            cell = cells[name.endswith("reverse")]
            reference.get_parameter(name).copy_(cell[name.removesuffix("_reverse").removesuffix("_l0")])
    for row, one in enumerate(each_sequence(batch)):
        expected = model.head(reference(one.inputs)[0])[0]
        expected = expected.squeeze(-1) if target == "binary" else expected
        torch.testing.assert_close(logits[row, : one.inputs.shape[1]], expected)


@pytest.mark.parametrize("target", KINDS)
def test_padding_never_matters(target):
    model, batch = made(target).double(), batch_of(target)
    batch = batch._replace(
        inputs=batch.inputs.double(), targets=batch.targets if target == "multiclass" else batch.targets.double()
    )
    changed = Batch(*(part.clone() for part in batch))
    longer = torch.zeros(4, 3, 2, dtype=torch.double)
    for row, length in enumerate(batch.lengths.tolist()):
        changed.inputs[row, length:] = torch.nan
        changed.targets[row, length:] = 1
    more = torch.cat((changed.targets, torch.ones_like(changed.targets[:, :3])), 1)
    changed = changed._replace(inputs=torch.cat((changed.inputs, longer), 1), targets=more)
    found = []
    for each in (batch, changed):
        model.zero_grad()
        logits, targets = model._answers(each)
        outputs = model.val_evaluation.add(logits, targets)
        loss = model.val_evaluation.take()["loss"]
        logits.square().sum().backward()
        found.append((logits, targets, outputs["probabilities"], loss, *(each.grad for each in model.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("target", KINDS)
def test_loss_and_metrics_are_those_of_all_true_steps(target):
    model = made(target)
    batches = [batch_of(target), batch_of(target, (2, 6), 6, seed=2)]
    parts = [(model(one.inputs)[0], one.targets[0]) for batch in batches for one in each_sequence(batch)]
    logits, targets = (torch.cat(each).detach() for each in zip(*parts, strict=True))
    for batch in batches:
        model.validation_step(batch, 0)
    found = {name: float(value) for name, value in model.val_evaluation.take().items()}
    found = {name: found[name] for name in ("loss", "accuracy", "auroc", "f1")}
    if target == "multiclass":
        loss, probabilities = nn.functional.cross_entropy(logits, targets), logits.softmax(-1)
        classes = logits.argmax(-1)
        auroc = roc_auc_score(targets, probabilities, multi_class="ovr")
        f1 = f1_score(targets, classes, average="macro")
    else:
        loss, probabilities = nn.functional.binary_cross_entropy_with_logits(logits, targets), logits.sigmoid()
        classes = (logits > 0).float()
        auroc = roc_auc_score(targets, probabilities)
        f1 = f1_score(targets, classes, average="binary" if target == "binary" else "macro")
    accuracy = accuracy_score(targets.flatten(), classes.flatten())
    assert found == pytest.approx({"loss": float(loss), "accuracy": accuracy, "auroc": auroc, "f1": f1}, rel=1e-5)


def test_class_weights_are_those_of_each_step():
    model, batch = made("multiclass", class_weights=[1.0, 2.0, 5.0]), batch_of("multiclass")
    parts = [(model(one.inputs)[0], one.targets[0]) for one in each_sequence(batch)]
    logits, targets = (torch.cat(each).detach() for each in zip(*parts, strict=True))
    weights = torch.tensor([1.0, 2.0, 5.0])
    expected = nn.functional.cross_entropy(logits, targets, weights, reduction="sum") / len(targets)
    model.validation_step(batch, 0)
    torch.testing.assert_close(model.val_evaluation.take()["loss"], expected)


def test_training_learns_a_label_for_each_step_and_logs_means_over_steps(tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    data = SyntheticSequences(RunningParity(max_length=6), num_train=600, num_val=64, num_test=90)
    torch.manual_seed(0)
    model = SequenceClassifier(partial(ElmanCell, hidden_size=16), vocab_size=2, label_per="step")
    by_position = AccuracyByLength()
    fitted = trainer(tmp_path, max_epochs=20, logger=CSVLogger(tmp_path), log_every_n_steps=1, callbacks=[by_position])
    fitted.fit(model, data)
    assert fitted.callback_metrics["val/accuracy"] > 0.9
    points = [row for row in curves(fitted.log_dir) if "train/accuracy" in row]
    first = next(iter(data.train_dataloader()))
    # A share of the steps of the first batch.
    correct = points[0]["train/accuracy"] * int(first.lengths.sum())
    assert correct == pytest.approx(round(correct), abs=1e-3)
    fitted.test(model, data, verbose=False)
    batch = data.split("test")
    assert [(each.shortest, each.longest) for each in by_position.buckets] == [(step, step) for step in range(1, 7)]
    counts = [int((batch.lengths >= step).sum()) for step in range(1, 7)]
    assert [each.num_sequences for each in by_position.buckets] == counts
    probabilities = model.probabilities(batch.inputs, batch.lengths)
    for bucket in by_position.buckets:
        rows = batch.lengths >= bucket.shortest
        right = (probabilities > 0.5)[:, bucket.shortest - 1] == (batch.targets > 0.5)[:, bucket.shortest - 1]
        assert bucket.accuracy == pytest.approx(float(right[rows].float().mean()))
    assert memory_curve(model, first)[0] == 1
    assert cell_figure(model, first).axes[0].get_title().startswith("sequence 0: at the end label")


def test_arguments_without_an_effect():
    with pytest.warns(UnusedArgumentWarning, match="`readout='mean'` has no effect with `label_per=\"step\"`"):
        made(readout="mean")
    with pytest.raises(ValueError, match='convolution must be None with `label_per="step"`'):
        made(convolution="fcn")
