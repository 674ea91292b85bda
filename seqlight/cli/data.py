"""The command `seqlight data`."""

import inspect
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from jsonargparse import ArgumentParser

from seqlight.cli.arguments import name_flag
from seqlight.cli.data_tables import class_table, feature_table, guess_table, length_table, token_lines
from seqlight.cli.data_words import FIGURE, data_flags
from seqlight.cli.flag_errors import UsageError, usage_error
from seqlight.cli.flags_in_messages import with_flags
from seqlight.cli.terminal import fitted
from seqlight.common.files import write_atomically
from seqlight.common.text import show
from seqlight.data.datamodule import Split
from seqlight.data.feature_summary import summarise_features, token_counts
from seqlight.data.files import SequenceFiles
from seqlight.data.reading.raw import Columns
from seqlight.data.sequences import Sequences
from seqlight.data.split_report import SplitReport
from seqlight.data.summary import class_counts

_PICTURES = (".png", ".svg", ".pdf")


def show_data(words: list[str]) -> None:
    """Print what would be read, and draw it if `--figure` is given.

    Args:
        words: the command line behind `data`.

    Raises:
        UsageError, jsonargparse.ArgumentError: if an argument is wrong.
        DataError: if the files can't be used.
        WriteError: if the figure can't be written.
    """
    flags, message = data_flags(words, inspect.signature(SequenceFiles).parameters.keys() - {"encoding"})
    if message:
        raise UsageError(message)
    parser = ArgumentParser(prog="seqlight data", add_help=False, exit_on_error=False)
    parser.add_class_arguments(SequenceFiles, "data", skip={"encoding"})
    parser.add_argument(f"--{FIGURE}", type=str | None, default=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jsonargparse warns about values that are refused below
        config = parser.parse_args(flags)
    arguments = config.data.as_dict()
    _check_figure(config.figure, [arguments[split] for split in get_args(Split)])
    try:
        data = SequenceFiles(**arguments)
    except (ValueError, TypeError) as error:
        raise usage_error(error, lambda message: name_flag(message, {"data": arguments})) from error
    show(*_parts(data, data.report_parts(data.splits)))
    if config.figure is not None:
        write_atomically(config.figure, _picture(data, Path(config.figure).suffix[1:].lower()))


def _parts(data: SequenceFiles, report: SplitReport) -> list[str]:
    """The paragraphs of the output."""
    parts = [_fitted([*report.sizes, report.encoding], indent=8)]
    raw, encoding = data.read_again("train"), data.encoding
    if raw.tokens is None:
        parts.append(feature_table(summarise_features(raw.values, _feature_names(data))))
    else:
        parts.append(_fitted([token_lines(token_counts(raw), len(raw.tokens))]))
    loaded: dict[str, Sequences] = {split: data.split(split) for split in data.splits}
    parts.append(length_table({split: each.lengths.numpy() for split, each in loaded.items()}))
    counts = {split: found for split, each in loaded.items() if (found := class_counts(each, encoding))}
    kind = "label" if encoding.target == "multilabel" else "class"
    totals = {split: len(loaded[split].lengths) for split in counts}
    if encoding.label_per == "step":
        totals = {split: int(loaded[split].lengths.sum()) for split in counts}
    if counts:  # none if targets are numbers
        parts.append(class_table(counts, totals, kind, f"{encoding.label_per}s"))
    guessed, guesses = data.guessed_columns, report.guesses
    if guessed is not None and data.hparams["layout"] == "wide":
        guessed = replace(guessed, step=None)  # a column is a step
    if guesses and guessed is not None and guessed != Columns():
        parts.append(with_flags(guess_table(guessed)))
        guesses = guesses[1:]
    doubts = [*guesses, *report.remarks, *report.shared]
    parts.append(_fitted(["doubts:", *(f"- {doubt}" for doubt in doubts)]) if doubts else "no doubts")
    return parts


def _fitted(lines: list[str], indent: int = 2) -> str:
    """Lines with flags, that fit into the terminal."""
    return fitted(with_flags("\n".join(lines)), " " * indent)


def _feature_names(data: SequenceFiles) -> tuple[str, ...]:
    """The columns of the features, or their numbers from 1 on."""
    columns = data.encoding.columns
    numbers = range(1, (data.encoding.num_features or 0) + 1)
    return tuple(map(str, numbers)) if columns is None or columns.features is None else columns.features


def _picture(data: SequenceFiles, suffix: str) -> bytes:
    """The figure of the sequences, as a file."""
    # Imported here, since most commands do not draw.
    from seqlight.figures.canvas import to_file
    from seqlight.figures.data_figure import data_figure
    from seqlight.figures.data_names import names_of

    return to_file(data_figure({split: data.split(split) for split in data.splits}, names_of(data)), suffix)


def _check_figure(path: str | None, sources: list[Any]) -> None:
    if path is None:
        return
    if Path(path).suffix.lower() not in _PICTURES:
        raise UsageError(f"--{FIGURE}: expected a file that ends in {', '.join(_PICTURES)}, got {path!r}")
    if os.path.exists(path) and any(each and os.path.exists(each) and os.path.samefile(each, path) for each in sources):
        raise UsageError(f"--{FIGURE}: expected a path that is not a data file, got {path!r}")
