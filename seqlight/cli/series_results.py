"""Results of several runs: the metrics of each, their mean and standard deviation, and predictions out of fold."""

import csv
import io
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from seqlight.callbacks.predictions import PredictionWriter
from seqlight.cli.devices import device_arguments
from seqlight.common.files import write_atomically
from seqlight.data.baselines import measure_baselines
from seqlight.data.datamodule import SequenceDataModule, Split
from seqlight.training.classifier import SequenceClassifier
from seqlight.training.finite_results import check_evaluation

RESULTS, PREDICTIONS = "results.json", "predictions.csv"
Scores = Mapping[str, float]
_FIRST = ("sequences", "accuracy", "auroc", "f1")  # columns; others follow
_NO_COLUMNS = ("loss", "majority", "calibration_error", "temperature", "threshold")  # majority is the last column
_MOST_COLUMNS = 6  # in 80 characters


class Evaluator:
    """Metrics and predictions of trained models, on the device that `fit` was given.

    Args:
        config: the arguments of `fit`.
    """

    def __init__(self, config: Any) -> None:
        given = config.trainer.as_dict()
        chosen = {**given, **device_arguments("fit", config.device, given)}
        self._arguments: dict[str, Any] = {
            "accelerator": chosen["accelerator"],
            "devices": 1 if chosen["devices"] == "auto" else chosen["devices"],
            "precision": chosen["precision"],
        }

    def scores(self, model: SequenceClassifier, data: SequenceDataModule, split: Split) -> dict[str, float]:
        """The number of sequences of a split, its metrics as far as they are defined, and the majority's accuracy.

        Args:
            model: the model.
            data: the data.
            split: "val" or "test".

        Raises:
            NonFiniteError: if a metric is not finite.
        """
        trainer = self._trainer()
        evaluate = trainer.validate if split == "val" else trainer.test
        [metrics] = evaluate(model, datamodule=data, verbose=False)
        check_evaluation(trainer.callback_metrics)
        sequences = data.split(split)
        known = measure_baselines(
            data.split("train"),
            sequences,
            target=data.target,
            num_outputs=data.num_outputs,
            vocab_size=data.vocab_size,
            label_per=data.label_per,
        ).baselines
        values = {name.partition("/")[2]: float(value) for name, value in metrics.items()}
        return {"sequences": len(sequences.lengths), **values, "majority": float(known.majority)}

    def write_predictions(self, model: SequenceClassifier, data: SequenceDataModule, split: Split, path: Path) -> None:
        """Write the predictions of a split, as `PredictionWriter` does."""
        trainer = self._trainer(PredictionWriter(path, split=split))
        trainer.datamodule = data  # type: ignore[attr-defined] # for names and ids
        trainer.predict(model, getattr(data, f"{split}_dataloader")(), return_predictions=False)

    def _trainer(self, *callbacks: Any) -> Trainer:
        return Trainer(
            **self._arguments,
            callbacks=list(callbacks),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write results as JSON."""
    write_atomically(path, f"{json.dumps(results, indent=1)}\n".encode())


def read_results(path: Path) -> dict[str, Any]:
    """Results from a file."""
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return results


def summary(scores: Sequence[Scores]) -> tuple[dict[str, float], dict[str, float]]:
    """The mean and the standard deviation (of a sample: n - 1) of the metrics that all runs have."""
    shared = [name for name in scores[0] if name != "sequences" and all(name in each for each in scores)]
    values = {name: [each[name] for each in scores] for name in shared}
    means = {name: statistics.fmean(numbers) for name, numbers in values.items()}
    return means, {name: statistics.stdev(numbers) for name, numbers in values.items()}


def scores_table(title: str, rows: Mapping[str, Scores]) -> str:
    """A table of metrics in 80 columns.

    Args:
        title: the heading of the first column.
        rows: the metrics by the name of the row.
    """
    names = list(dict.fromkeys(name for scores in rows.values() for name in scores))
    columns = [name for name in _FIRST if name in names]
    columns += [name for name in names if name not in (*_FIRST, *_NO_COLUMNS)]
    columns = [*columns[: _MOST_COLUMNS - 1], *(["majority"] if "majority" in names else [])]
    lines = [f"{title:14}" + "".join(f"{name:>11}" for name in columns)]
    lines += [f"{name:14}" + "".join(_cell(scores, column) for column in columns) for name, scores in rows.items()]
    return "\n".join(lines)


def members_table(title: str, members: Sequence[Scores], ensemble: Scores) -> str:
    """A table of the metrics of each member of an ensemble, their mean, and those of the ensemble."""
    means, deviations = summary(members)
    rows = {f"member {number}": each for number, each in enumerate(members, 1)}
    return scores_table(title, {**rows, "mean": means, "std (n - 1)": deviations, "ensemble": ensemble})


def _cell(scores: Scores, name: str) -> str:
    if name == "sequences":
        return f"{scores.get(name, ''):>11}"
    return f"{scores[name]:11.4f}" if name in scores else f"{'-':>11}"


def join_predictions(paths: Sequence[Path], path: Path) -> None:
    """Write the predictions of all folds into one file, with the number of the fold behind the id.

    Args:
        paths: the file of each fold, in order.
        path: the file to write.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    for fold, each in enumerate(paths, 1):
        with each.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        if fold == 1:
            writer.writerow([header[0], "fold", *header[1:]])
        writer.writerows([identity, fold, *cells] for identity, *cells in rows)
    write_atomically(path, text.getvalue().encode())


def relative(path: Path) -> str:
    """A path for the terminal."""
    return os.path.relpath(path)
