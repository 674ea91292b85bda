"""The results of a command: metrics, temperature and thresholds, baselines."""

from collections.abc import Mapping

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from seqlight.cli.baselines import baselines_text
from seqlight.cli.report import metrics_table
from seqlight.cli.series_results import members_table
from seqlight.common.text import one_line
from seqlight.data.datamodule import SequenceDataModule, Split
from seqlight.training.best_threshold import DEFAULT_THRESHOLD
from seqlight.training.classifier import SequenceClassifier
from seqlight.training.ensemble import SequenceEnsemble
from seqlight.training.trainer_data import class_names

_MOST_LABELS = 20


def results_text(
    trainer: Trainer,
    model: SequenceClassifier,
    data: SequenceDataModule,
    metrics: Mapping[str, Tensor | float],
    *splits: Split,
) -> str:
    """The metrics of the splits, with the baselines of the last one that has metrics.

    For a single split, also its calibration error, and the temperature and thresholds of the model; for an ensemble,
    the metrics of its members.

    Args:
        trainer: the Trainer after the run.
        model: the classifier.
        data: the data.
        metrics: the metrics by name.
        splits: the splits of the table.
    """
    parts = [metrics_table(metrics, splits)]
    shown = [split for split in splits if any(name.startswith(f"{split}/") for name in metrics)]
    if len(splits) == 1 and (error := metrics.get(f"{splits[0]}/calibration_error")) is not None:
        parts.append(f"expected calibration error {float(error):.4f}")
        parts += calibration_lines(trainer, model)
    if shown:
        parts.append(baselines_text(trainer, metrics, shown[-1], weighted=data.class_weights is not None))
    if shown and isinstance(model, SequenceEnsemble):
        ensemble = {
            name.partition("/")[2]: float(value) for name, value in metrics.items() if name.startswith(f"{shown[-1]}/")
        }
        parts.append("\n" + members_table(shown[-1], model.take_members(), ensemble))
    return "\n".join(filter(None, parts))


def calibration_lines(trainer: Trainer, model: SequenceClassifier) -> list[str]:
    """Lines about the temperature and the thresholds that a model uses; none if it has the defaults."""
    calibration, lines, source = model.calibration, [], "not from validation, as there was none"
    if calibration.learns and calibration.is_learned:
        source = f"on validation ({int(calibration.num_sequences)} {model.label_per}s)"
    if calibration.scales:
        aim = "lowest log loss " if calibration.is_learned else ""
        lines.append(f"temperature {float(calibration.temperature):.4f}: {aim}{source}")
    if calibration.metric is not None:
        values = torch.as_tensor(calibration.threshold).flatten().tolist()
        names = class_names(trainer, model.target, model.head.out_features) if model.target == "multilabel" else [""]
        each = zip(names, values, strict=True)
        shown = ", ".join(f"{name} {value:.4f}".strip() for name, value in [*each][:_MOST_LABELS])
        more = ", ..." if len(values) > _MOST_LABELS else ""
        aim = f"best {calibration.metric} " if calibration.is_learned else ""
        lines.append(f"threshold {shown}{more}: {aim}{source}")
    elif calibration.given != DEFAULT_THRESHOLD:
        lines.append(f"threshold {calibration.given}")
    return [one_line(line) for line in lines]
