import torch

from seqlight.cli.report import length_table, metrics_table
from seqlight.training.length_accuracy import LengthBucket


def table(splits, **metrics):
    values = {name.replace("_", "/"): torch.tensor(value) for name, value in metrics.items()}
    return [line.split() for line in metrics_table(values, splits).splitlines()]


def test_missing_metric_is_a_dash():
    expected = [["loss", "accuracy"], ["train", "0.2500", "-"], ["val", "0.5000", "0.7500"]]
    assert table(("train", "val"), train_loss=0.25, val_loss=0.5, val_accuracy=0.75) == expected


def test_split_without_metrics_has_no_row():
    assert table(("train", "val"), train_loss=0.25) == [["loss", "accuracy"], ["train", "0.2500", "-"]]


def test_single_split_has_all_metrics():
    expected = [["loss", "accuracy", "auroc", "f1"], ["test", "0.2500", "-", "-", "0.5000"]]
    assert table(("test",), test_loss=0.25, test_f1=0.5) == expected


def test_accuracy_by_length_has_a_row_for_each_bucket():
    lines = length_table([LengthBucket(2, 20, 123, 0.5), LengthBucket(21, 39, 7, 1 / 3)]).splitlines()
    assert [line.split() for line in lines] == [
        ["length", "sequences", "accuracy"],
        ["2-20", "123", "0.5000"],
        ["21-39", "7", "0.3333"],
    ]
    assert len({len(line) for line in lines}) == 1
