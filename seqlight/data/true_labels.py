"""The true labels of sequences as columns of a file of predictions."""

from collections.abc import Sequence

from jaxtyping import Shaped
from torch import Tensor

from seqlight.data.classes import ClassIndex, names_of
from seqlight.data.reading.raw import Label
from seqlight.tasks.task import Target

LabelColumns = dict[str, list[str]]  # cells by the name of their column; empty text where the label is unknown


def columns_of_labels(
    labels: Sequence[Label], class_names: Sequence[str], target: Target, known_names: Sequence[str] | None = None
) -> LabelColumns:
    """A column `label`; for multilabel, a column `label_<name>` of 0 and 1 for each label.

    Labels that the training data do not have stay as they were read; for multilabel, they get columns of their own.

    Args:
        labels: the label of each sequence, as it was read; None where there is none.
        class_names: the names of the training data.
        target: "binary", "multiclass", "multilabel" or "regression", whose labels are numbers, several in columns.
        known_names: for multilabel, the labels of which the source says for each sequence whether it has them; None for
            all.
    """
    if target == "regression":
        cells = [("",) * len(class_names) if label is None else names_of(label) for label in labels]
        names = ["label"] if len(class_names) == 1 else [f"label_{name}" for name in class_names]
        return {name: [row[place] for row in cells] for place, name in enumerate(names)}
    index = ClassIndex(class_names)

    def name_of(read: str) -> str:
        position = index.get(read)
        return read if position is None else class_names[position]

    if target != "multilabel":
        return {"label": ["" if label is None else ", ".join(map(name_of, names_of(label))) for label in labels]}
    sets = [None if label is None else {name_of(name) for name in names_of(label)} for label in labels]
    others = sorted({name for names in sets for name in names or ()} - {*class_names})
    known = {*class_names} if known_names is None else {name_of(name) for name in known_names}
    return {
        f"label_{name}": ["" if names is None else str(int(name in names)) for names in sets]
        if name in known or name in others
        else [""] * len(sets)
        for name in (*class_names, *others)
    }


def columns_of_targets(
    targets: Shaped[Tensor, "sequences *labels"], class_names: Sequence[str], target: Target
) -> LabelColumns:
    """The same columns from targets, which are NaN or -1 where they are unknown; no column if all are.

    Args:
        targets: as in a batch; for regression, in their original units.
        class_names: the names of the classes or labels, two for binary.
        target: "binary", "multiclass" or "multilabel".
    """
    if target == "regression":
        known = targets.isfinite().all(-1).tolist()
        if not any(known):
            return {}
        texts = [tuple(f"{number:.7g}" for number in row) for row in targets.tolist()]
        labels = [text if is_known else None for text, is_known in zip(texts, known, strict=True)]
        return columns_of_labels(labels, class_names, target)
    rows = targets.reshape(len(targets), -1).nan_to_num(nan=-1).long().cpu()
    if (rows < 0).all():
        return {}
    cells = class_names if target != "multilabel" else "01"
    names = [f"label_{name}" for name in class_names] if target == "multilabel" else ["label"]
    columns = zip(names, rows.T.tolist(), strict=True)
    return {name: ["" if code < 0 else cells[code] for code in column] for name, column in columns}
