"""The file of PredictionWriter, and the folder after an error."""

import csv
import errno
import os
import signal
import stat
import sys
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from seqlight import (
    Batch,
    GRUCell,
    NonFiniteError,
    PredictionWriter,
    SequenceClassifier,
    SequenceDataModule,
    SequenceLoader,
)
from seqlight.callbacks import predictions

STRANGE = ('comma, and "quote"', "new\nline", "日本語 ünï")
KINDS = {"binary": 1, "multiclass": 3, "multilabel": 3}
pytestmark = pytest.mark.filterwarnings("ignore:Detected KeyboardInterrupt")


@dataclass
class Source:
    target: str = "multiclass"
    names: tuple[str, ...] | None = None
    ids: list | None = None
    num_samples: int = 70


class Samples(SequenceDataModule):
    """Random sequences with unknown targets."""

    input_size, vocab_size = 2, None

    def __init__(self, batch_size=32):
        super().__init__(batch_size, 0)

    def split(self, split):
        size, target = self.source.num_samples, self.source.target
        inputs = torch.randn(size, 5, 2, generator=torch.Generator().manual_seed(0))
        targets = torch.full((size,), -1) if target == "multiclass" else torch.full((size,), torch.nan)
        if target == "multilabel":
            targets = targets[:, None].expand(-1, 3)
        return Batch(inputs, targets, torch.arange(size) % 5 + 1)


class NamedSamples(Samples):
    def sample_ids(self, split):
        assert split == "predict"
        return self.source.ids


def set_up(**options):
    """A model and its data."""
    source = Source(**options)
    data = (NamedSamples if source.ids is not None else Samples)()
    data.source, data.target, data.num_outputs = source, source.target, KINDS[source.target]
    data.class_names = source.names
    torch.manual_seed(1)
    model = SequenceClassifier(
        partial(GRUCell, hidden_size=8), input_size=2, target=data.target, num_outputs=data.num_outputs
    )
    torch.nn.init.normal_(model.head.weight, std=3.0)
    return model, data


def predict(path, model, data, *callbacks):
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[PredictionWriter(path), *callbacks]
    )
    return trainer.predict(model, data, return_predictions=False)


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, rows


@pytest.mark.parametrize("names", [None, STRANGE], ids=["numbers", "names"])
@pytest.mark.parametrize("target", KINDS)
def test_file_holds_the_models_predictions(target, names, tmp_path):
    names = names and (names[:2] if target == "binary" else names)
    ids = [f"{STRANGE[index % 3]}-{index}" for index in range(70)] if names else None
    model, data = set_up(target=target, names=names, ids=ids)
    assert predict(tmp_path / "new" / "p.csv", model, data) is None
    header, rows = read(tmp_path / "new" / "p.csv")
    batch = data.split("predict")
    expected = model.probabilities(batch.inputs, batch.lengths)
    names = names or tuple("01") if target == "binary" else names or tuple("012")
    columns = [f"probability_{name}" for name in names]
    assert header == ["id", *columns] + (
        [f"prediction_{name}" for name in names] if target == "multilabel" else ["prediction"]
    )
    assert [row[0] for row in rows] == (ids or [str(index) for index in range(70)])
    written = torch.tensor([[float(cell) for cell in row[1 : 1 + len(names)]] for row in rows], dtype=torch.float64)
    if target == "binary":
        torch.testing.assert_close(written[:, 1], expected.double(), rtol=1e-6, atol=0)
        assert [row[-1] for row in rows] == [names[int(p > 0.5)] for p in expected]
    else:
        torch.testing.assert_close(written, expected.double(), rtol=1e-6, atol=0)
    if target == "multiclass":
        assert [row[-1] for row in rows] == [names[max(range(3), key=row.__getitem__)] for row in expected.tolist()]
    if target == "multilabel":
        assert [row[4:] for row in rows] == [[str(int(p > 0.5)) for p in row] for row in expected.tolist()]
    else:
        assert len({row[-1] for row in rows}) > 1
        torch.testing.assert_close(written.sum(1), torch.ones(70, dtype=torch.float64), rtol=0, atol=1e-5)
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["p.csv"]


class Watch(pl.Callback):
    """Record the size of the temporary file after each batch."""

    def __init__(self, folder):
        self.folder, self.sizes = folder, []

    def on_predict_batch_end(self, *_):
        [file] = self.folder.iterdir()
        assert file.name != "p.csv"
        self.sizes.append(file.stat().st_size)


def test_rows_are_written_batch_by_batch(tmp_path):
    watch = Watch(tmp_path)
    predict(tmp_path / "p.csv", *set_up(num_samples=2000), watch)
    assert watch.sizes[len(watch.sizes) // 2] > 10_000
    assert len(read(tmp_path / "p.csv")[1]) == 2000


class FailIn(pl.Callback):
    def __init__(self, batch_idx, error):
        self.batch_idx, self.error = batch_idx, error

    def on_predict_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == self.batch_idx and self.error is None:
            os.kill(os.getpid(), signal.SIGTERM)
        elif batch_idx == self.batch_idx:
            raise self.error


@pytest.mark.parametrize(
    ("error", "raised"),
    [(RuntimeError("no"), RuntimeError), (KeyboardInterrupt(), SystemExit), (None, SystemExit)],
    ids=["error", "SIGINT", "SIGTERM"],
)
@pytest.mark.parametrize("batch_idx", [0, 2])
def test_interrupted_prediction_leaves_an_earlier_file_unchanged(error, raised, batch_idx, tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("earlier")
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(raised) as caught:
            predict(path, *set_up(), FailIn(batch_idx, error))
        assert error is not None or caught.value.code == 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning has set the process to ignore it
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.csv"]
    assert path.read_text() == "earlier"


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("part", ["fsync", "replace", "row"])
def test_unwritable_file_is_reported_and_unchanged(part, tmp_path, monkeypatch):
    path = tmp_path / "p.csv"
    path.write_text("earlier")
    if part == "row":
        monkeypatch.setattr(predictions.csv, "writer", lambda _: SimpleNamespace(writerow=len, writerows=no_space))
    else:
        owner = predictions.os if part == "fsync" else predictions.Path
        monkeypatch.setattr(owner, part, no_space)
    with pytest.raises(OSError, match=r"can't write predictions to .*p\.csv: No space left on device"):
        predict(path, *set_up())
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.csv"]
    assert path.read_text() == "earlier"


def test_folder_that_can_not_be_created_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"can't write predictions to .*file/p\.csv: (Not a directory|File exists)"):
        predict(tmp_path / "file" / "p.csv", *set_up())


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes there, and links need a privilege")
@pytest.mark.parametrize("make", [os.mkfifo if hasattr(os, "mkfifo") else None, os.mkdir], ids=["pipe", "folder"])
@pytest.mark.parametrize("linked", [False, True])
def test_pipe_or_folder_is_not_replaced(make, linked, tmp_path):
    path = target = tmp_path / "target"
    make(target)
    if linked:
        path = tmp_path / "link"
        path.symlink_to(target)
    kind, entries = stat.S_IFMT(target.stat().st_mode), set(tmp_path.iterdir())
    with pytest.raises(OSError, match=rf"can't write predictions to .*{path.name}: expected the path of a file"):
        predict(path, *set_up())
    assert stat.S_IFMT(target.stat().st_mode) == kind
    assert set(tmp_path.iterdir()) == entries


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_link_to_a_file_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "p.csv")
    for _ in ("missing file", "existing file"):
        predict(tmp_path / "link", *set_up())
        assert len(read(tmp_path / "p.csv")[1]) == 70
        assert (tmp_path / "link").is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("target", KINDS)
def test_loader_without_a_data_module(target, tmp_path):
    model, data = set_up(target=target)
    predict(tmp_path / "p.csv", model, [data.predict_dataloader()])
    header, rows = read(tmp_path / "p.csv")
    assert [row[0] for row in rows] == [str(index) for index in range(70)]
    assert header[1:3] == ["probability_0", "probability_1"]


def test_several_or_shuffling_loaders_are_refused(tmp_path):
    model, data = set_up()
    loader = SequenceLoader(data.split("predict"), 8, shuffle=True)
    with pytest.raises(MisconfigurationException, match="samples in order, got a loader that shuffles"):
        predict(tmp_path / "p.csv", model, loader)
    loaders = [data.predict_dataloader(), data.predict_dataloader()]
    model.predict_step = lambda batch, batch_idx, dataloader_idx=0: None
    with pytest.raises(MisconfigurationException, match="one loader, got 2"):
        predict(tmp_path / "p.csv", model, loaders)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("without_type_checks")
def test_several_processes_are_refused():
    with pytest.raises(MisconfigurationException, match="one process, got 2"):
        PredictionWriter("p.csv").on_predict_start(SimpleNamespace(world_size=2), set_up()[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ("a", "b")}, r"class_names must be 3 names for this multiclass target, got \['a', 'b'\]"),
        ({"ids": ["a"] * 40}, r"sample_ids\('predict'\) gives 40 ids"),
    ],
)
def test_wrong_number_of_names_is_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        predict(tmp_path / "p.csv", *set_up(**options))
    assert not list(tmp_path.iterdir())


class Spoilt(SequenceClassifier):
    """Its probabilities of some samples are not finite."""

    bad, value = (), torch.nan

    def predict_step(self, batch, batch_idx):
        probabilities = super().predict_step(batch, batch_idx)
        for row in self.bad:
            if 0 <= row - 32 * batch_idx < len(probabilities):
                probabilities[row - 32 * batch_idx].fill_(self.value)
        return probabilities


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("target", KINDS)
def test_probabilities_that_are_not_finite_leave_no_file(target, value, tmp_path):
    ids = [f"s{index}" if index % 2 else index for index in range(70)]
    model, data = set_up(target=target, ids=ids)
    model.__class__, model.value, model.bad = Spoilt, value, (5, 40, 69)
    path = tmp_path / "p.csv"
    with pytest.raises(
        NonFiniteError, match=r"not finite: 5 \(id s5\), 40, 69 \(id s69\)\n.*p.csv was not written; check"
    ):
        predict(path, model, data)
    assert [*tmp_path.iterdir()] == []
    path.write_text("earlier")
    model.bad = range(70)
    names = ", ".join(f"{row} \\(id s{row}\\)" if row % 2 else str(row) for row in range(10))
    with pytest.raises(NonFiniteError, match=rf"not finite: {names}, \.\.\.\nthe earlier .*p.csv is unchanged; check"):
        predict(path, model, data)
    assert path.read_text() == "earlier"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such permissions")
@pytest.mark.parametrize(("mode", "expected"), [(None, 0o640), (0o600, 0o600), (0o664, 0o664)])
def test_permissions_of_a_replaced_file_are_kept(mode, expected, tmp_path):
    path = tmp_path / "p.csv"
    if mode is not None:
        path.touch()
        path.chmod(mode)
    before = os.umask(0o027)
    try:
        predict(path, *set_up())
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == expected
    assert len(path.read_text().splitlines()) == 71
