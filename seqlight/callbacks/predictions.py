"""A CSV file of predictions."""

import csv
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import lightning.pytorch as pl
from jaxtyping import Float, Int64
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.utils.data import RandomSampler

from seqlight.callbacks.classifier import classifier_of
from seqlight.common.batch import Batch
from seqlight.common.drafts import draft_of, remove_abandoned
from seqlight.common.errors import WriteError
from seqlight.common.files import new_draft
from seqlight.common.private_lightning import NotInEveryStep
from seqlight.common.steps import true_steps
from seqlight.common.text import one_line
from seqlight.data.datamodule import SequenceDataModule, Split
from seqlight.data.loader import SequenceLoader
from seqlight.data.sequences import Sequences
from seqlight.data.true_labels import LabelColumns, columns_of_targets
from seqlight.tasks.task import Target
from seqlight.training.batch_samples import sample_name
from seqlight.training.finite_results import non_finite_rows
from seqlight.training.non_finite import MOST_NAMED, NonFiniteError, listed
from seqlight.training.regression import Units
from seqlight.training.trainer_data import class_names, datamodule_of


class PredictionWriter(NotInEveryStep, pl.Callback):
    """Write the predictions of `Trainer.predict` to a CSV file, one row per sequence in the order of the split.

    If each step has a label, one row per time step, with another column `step`: the value of the column of steps, or
    else the index.

    Columns: `id`, from the data module's `sample_ids("predict")`, or else the index; `probability_<class>` for each
    class; `prediction`, the class; and `label`, the true class, if some are known. A multilabel target has
    `prediction_<label>` and `label_<label>`, 0 or 1, for each label instead; a regression the same columns, or
    `prediction` and `label` for a single number, in original units, and no probabilities. Class names come from the
    data module; without them, classes are numbers. A label that is unknown is an empty cell; one that the model does
    not know stays as it was read.

    Rows are written batch by batch to a temporary file beside the target, which is renamed at the end: the target is
    written completely or not at all. With `Trainer.predict(..., return_predictions=False)` memory does not grow.

    Args:
        path: the file. A missing folder is created; a link to a file is followed. An existing file keeps its
            permissions, and its group if possible.
        split: the split whose loader the Trainer is given, for ids and labels.

    Raises:
        MisconfigurationException: in predict, if the module is no SequenceClassifier, there are several processes or
            loaders, or the loader shuffles.
        TypeError: in predict, if a subclass's `predict_step` returns no tensor.
        WriteError: in predict, if the file can't be written.
        FileExistsError: in predict, if the path is a folder, device or pipe.
        NonFiniteError: in predict, if probabilities are NaN; it names the samples, and no file is written.
    """

    def __init__(self, path: str | os.PathLike[str], split: Split = "predict") -> None:
        self.path = Path(path)
        self.split: Split = split
        self._file: IO[str] | None = None
        self._non_finite: list[str] = []

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the temporary file, and write the column names."""
        model = classifier_of(self, pl_module)
        if trainer.world_size > 1:
            raise MisconfigurationException(f"PredictionWriter supports one process, got {trainer.world_size}")
        loader = trainer.predict_dataloaders
        if isinstance(loader, list | tuple) and len(loader) == 1:
            [loader] = loader
        if isinstance(loader, list | tuple | dict):
            raise MisconfigurationException(f"PredictionWriter supports one loader, got {len(loader)}")
        if getattr(loader, "shuffle", False) or isinstance(getattr(loader, "sampler", None), RandomSampler):
            raise MisconfigurationException("PredictionWriter needs the samples in order, got a loader that shuffles")
        self._target: Target = model.target
        self._classes_of = model.calibration.classes
        self._names = class_names(trainer, model.target, model.head.out_features)
        datamodule = datamodule_of(trainer)
        self._ids = None if datamodule is None else datamodule.sample_ids(self.split)
        self._per_step = model.label_per == "step"
        self._steps = datamodule.sample_steps(self.split) if datamodule is not None and self._per_step else None
        self._labels = _true_labels(datamodule, self.split, loader, self._names, self._target)
        self._num_written = self._num_rows = 0  # sequences, and rows
        self._non_finite = []
        self._place = Path(os.path.realpath(self.path))
        if self._place.exists() and not self._place.is_file():
            # Renaming would replace a device or pipe.
            raise FileExistsError(
                f"can't write predictions to {one_line(self.path)}: "
                "expected the path of a file, got a folder, device or pipe"
            )
        try:
            self._place.parent.mkdir(parents=True, exist_ok=True)
            remove_abandoned(self._place.parent)
            self._draft = draft_of(self._place)
            # A lone surrogate in a name has no encoding, so it is written as an escape.
            text = {"newline": "", "encoding": "utf-8", "errors": "backslashreplace"}
            self._file = new_draft(self._draft, self._place, mode="w", **text)
            self._rows = csv.writer(self._file)
            name, *others = header(self._names, self._target)
            self._rows.writerow([name, *(["step"] if self._per_step else []), *others, *self._labels])
        except OSError as error:
            raise self._failure(error) from error

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the rows of a batch."""
        if not isinstance(outputs, Tensor):
            got = type(outputs).__name__
            raise TypeError(f"PredictionWriter needs probabilities (B, ...) from predict_step, a tensor, got {got}")
        start, stop = self._num_written, self._num_written + len(outputs)
        ids = range(start, stop) if self._ids is None else self._ids[start:stop]
        if len(ids) < len(outputs):
            raise ValueError(f"sample_ids({self.split!r}) gives {start + len(ids)} ids, expected one for each sequence")
        self._non_finite += [sample_name(start + row, self._ids) for row in non_finite_rows(outputs)]
        if len(self._non_finite) > MOST_NAMED:
            raise self._refusal()
        begins: Sequence[Sequence[int | str]] = [[name] for name in ids]
        if self._per_step:
            outputs = true_steps(outputs, batch.lengths)
            begins = self._names_of_steps(ids, batch.lengths.tolist())
        table = rows(outputs, self._classes_of(outputs), self._names, self._target)
        written = slice(self._num_rows, self._num_rows + len(table))
        labels = [column[written] for column in self._labels.values()]
        try:
            self._rows.writerows(
                [*begin, *cells, *true] for begin, cells, *true in zip(begins, table, *labels, strict=True)
            )
        except OSError as error:
            raise self._failure(error) from error
        self._num_written, self._num_rows = stop, written.stop
        if trainer.received_sigterm:  # Lightning would continue to predict
            raise SystemExit(128 + signal.SIGTERM)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Rename the temporary file.

        Raises:
            NonFiniteError: if a probability was not finite.
        """
        if self._non_finite:
            raise self._refusal()
        if self._file is None:
            raise RuntimeError("PredictionWriter.on_predict_end was called before on_predict_start")
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._draft.replace(self._place)
        except OSError as error:
            raise self._failure(error) from error
        self._file = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Remove the temporary file."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()  # can fail like the writing, if the disk is full
            except OSError:
                pass
            finally:
                self._draft.unlink(missing_ok=True)

    def _names_of_steps(self, ids: Sequence[int | str], lengths: Sequence[int]) -> list[tuple[int | str, int | str]]:
        """Id and step of each row."""
        places: list[tuple[int | str, int | str]]
        places = [(name, step) for name, length in zip(ids, lengths, strict=True) for step in range(length)]
        if self._steps is None:
            return places
        steps = self._steps[self._num_rows : self._num_rows + len(places)]
        return [(name, step) for (name, _), step in zip(places, steps, strict=True)]

    def _refusal(self) -> NonFiniteError:
        earlier = self._place.exists()
        kept = f"the earlier {self.path} is unchanged" if earlier else f"{self.path} was not written"
        return NonFiniteError(
            f"the probabilities of these samples are not finite: {listed(self._non_finite)}\n"
            f"{kept}; check the inputs of these samples, and the weights of the model, for NaN and infinity"
        )

    def _failure(self, error: OSError) -> WriteError:
        return WriteError(f"can't write predictions to {self.path}: {error.strerror}")


def _true_labels(
    datamodule: SequenceDataModule | None, split: Split, loader: Any, names: Sequence[str], target: Target
) -> LabelColumns:
    """Columns with the true labels: those that the data module gives, or the targets in memory; none if unknown."""
    given = None if datamodule is None else datamodule.true_labels(split)
    if given is not None:
        return given
    if not isinstance(loader, SequenceLoader):
        return {}
    targets = loader.data.own_targets() if isinstance(loader.data, Sequences) else loader.data.targets
    if target == "regression" and datamodule is not None:
        targets = Units.of(datamodule.target_mean, datamodule.target_scale, len(names)).restore(targets)
    return columns_of_targets(targets, names, target)


def header(names: Sequence[str], target: Target) -> list[str]:
    """The column names."""
    if target == "regression":
        return ["id", *(["prediction"] if len(names) == 1 else [f"prediction_{name}" for name in names])]
    probabilities = [f"probability_{name}" for name in names]
    predictions = [f"prediction_{name}" for name in names] if target == "multilabel" else ["prediction"]
    return ["id", *probabilities, *predictions]


def rows(
    probabilities: Float[Tensor, "batch *outputs"],
    classes: Int64[Tensor, "batch *labels"],
    names: Sequence[str],
    target: Target,
) -> list[list[str | int]]:
    """The columns of probabilities and predictions, one row per sequence.

    Args:
        probabilities: (B,) for binary, of class 1; (B, L) for multilabel; (B, C) for multiclass; for regression the
            numbers (B, L).
        classes: the predicted classes, in the shape of targets.
        names: names of the classes or labels; two for binary.
        target: "binary", "multiclass" or "multilabel".
    """
    table = probabilities.cpu().double()
    if target == "regression":
        return [[f"{number:.9g}" for number in row] for row in table.tolist()]
    predicted: list[list[str | int]]
    predicted = classes.tolist() if target == "multilabel" else [[names[label]] for label in classes.tolist()]
    values = [[1 - p, p] for p in table.tolist()] if target == "binary" else table.tolist()
    return [[*(f"{p:.7g}" for p in row), *cells] for row, cells in zip(values, predicted, strict=True)]
