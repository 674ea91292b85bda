"""The progress bar on a terminal, and the lines without one."""

import contextlib
import io
import pickle
import re

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from seqlight import SequenceClassifier, SumSign, SyntheticSequences
from seqlight.callbacks.progress_bar import TimedProgressBar
from seqlight.callbacks.progress_line import ProgressLine, number_text

TRAIN, VAL = r"loss \d\.\d{4} acc [01]\.\d{3}", r"val loss \d\.\d{4} acc [01]\.\d{3}"
FOUR = f"{TRAIN}, {VAL}"


# Without the time to trace a kernel.
MODEL = SequenceClassifier(input_size=1, backend="torch")


class Output(io.StringIO):
    """Standard output, on a terminal or not."""

    is_terminal = True

    def isatty(self):
        return self.is_terminal

    @property
    def texts(self):
        """All that stood in the last line, one after another."""
        return [text.rstrip() for text in re.split(r"[\r\n]", self.getvalue()) if text.strip()]

    @property
    def screen(self):
        """The text on the screen at the end."""
        return [line.split("\r")[-1].rstrip() for line in self.getvalue().split("\n")]


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 80 columns, on which every step is drawn."""
    monkeypatch.setattr(ProgressLine, "interval", 0.0)
    monkeypatch.setenv("COLUMNS", "80")
    return Output()


@pytest.fixture
def pipe(terminal):
    terminal.is_terminal = False
    return terminal


def make_trainer(**options):
    options = {
        "max_epochs": 2,
        "enable_checkpointing": False,
        "num_sanity_val_steps": 0,
        "enable_model_summary": False,
        **options,
    }
    callbacks = [options.pop("bar", None) or TimedProgressBar(), *options.pop("callbacks", [])]
    return pl.Trainer(accelerator="cpu", logger=False, callbacks=callbacks, log_every_n_steps=1, **options)


def train(output, ckpt_path=None, **options):
    trainer = make_trainer(**options)
    with contextlib.redirect_stdout(output):
        trainer.fit(MODEL, data(), ckpt_path=ckpt_path)
    return trainer


def data():
    """Three batches for each stage."""
    return SyntheticSequences(SumSign(), num_train=96, num_val=96, num_test=96)


@pytest.mark.parametrize(("columns", "has_bar"), [(60, False), (80, True), (120, True), (200, True)])
def test_bar_shows_the_metrics_whole(columns, has_bar, terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    trainer = train(terminal)
    assert max(map(len, terminal.texts)) < columns
    assert not re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f]", terminal.getvalue())
    whole = [text for text in terminal.texts if text.endswith(tuple("0123456789"))]
    second = [text for text in terminal.texts if text.startswith(("Epoch 2/2", "Val   2/2"))]
    assert set(second) <= set(whole)
    for text in second:
        assert re.fullmatch(rf"(Epoch|Val  ) 2/2 {'.*%[|].*[|].* ' if has_bar else ''}{FOUR}", text), text
    # The last state has the means of the whole epoch, and stays.
    means = trainer.callback_metrics
    [bar, end] = terminal.screen
    assert bar == second[-1]
    assert end == ""
    shown = [float(number) for number in re.findall(r"\d\.\d+", re.search(FOUR, bar)[0])]
    names = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
    assert shown == pytest.approx([means[name].item() for name in names], abs=6e-4)
    if has_bar:
        assert " 67%" in "".join(text for text in second if text.startswith("Epoch"))
        assert " 67%" in "".join(text for text in second if text.startswith("Val"))
        assert ("3/3 [" in bar) == (columns > 100)


@pytest.mark.parametrize(
    ("columns", "description", "others", "expected"),
    [
        (80, "Epoch 3/10", 0, r"Epoch 3/10  14%\|.*\| .* FOUR"),
        (80, "Epoch 1000/1000", 0, r"Epoch 1000/1000  14%\|.*\| FOUR"),
        (80, "Epoch 3/10", 1, r"Epoch 3/10  14%\|.*\| .* FOUR"),  # no room for it
        (89, "Epoch 3/10", 2, r"Epoch 3/10  14%\|.*\| FOUR, own0 0\.5000"),
        (200, "Epoch 3/10", 2, r"Epoch 3/10  14%\|.*\| 1/7 \[.*it/s\] FOUR, own0 0\.5000, own1 0\.5000"),
        (63, "Epoch 3/10", 2, "Epoch 3/10 FOUR"),
        (65, "Epoch 3/10", 0, "Epoch 3/10  14% FOUR"),
        (60, "Epoch 300/1000", 2, "300/1000 FOUR"),
        (0, "Epoch 3/10", 0, r"Epoch 3/10  14%\|.*\| .* FOUR"),  # a terminal that does not know its width
    ],
)
def test_line_leaves_out_what_has_no_room(columns, description, others, expected, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    line = ProgressLine(file=io.StringIO())
    four = {"train/loss": 0.0553, "train/accuracy": 0.983, "val/loss": 0.073, "val/accuracy": 0.9691}
    line.show_metrics({**{f"own{index}": 0.5 for index in range(others)}, **four})
    line.begin(description, 7)
    line.n, line.start_t = 1, line.start_t - 10
    text = str(line)
    line.close()
    assert re.fullmatch(expected.replace("FOUR", "loss 0.0553 acc 0.983, val loss 0.0730 acc 0.969"), text), text
    assert len(text) < (columns or 80)


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({}, ""),
        ({"val/accuracy": 0.5}, "val acc 0.500"),
        ({"train/accuracy": 0.25}, "acc 0.250"),
        ({"train/loss": float("nan"), "val/loss": float("inf")}, "loss nan, val loss inf"),
        ({"{n}": 1.0, "a\nb": 2, "text": "x\x1b"}, r"{n} 1.0000, a\nb 2, text x\x1b"),
    ],
)
def test_metrics_of_a_line(metrics, expected, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    line = ProgressLine(file=io.StringIO())
    line.show_metrics(metrics)
    line.begin("Epoch", float("inf"))
    text = str(line)
    line.close()
    assert text.split("] ")[1] == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0.0000"),
        (0.05531, "0.0553"),
        (-1.5, "-1.5000"),
        (1.2e-5, "1.2e-05"),
        (12.3456, "12.346"),
        (99999.0, "99999"),
        (123456.0, "1.2e+05"),
        (3, "3"),
        (float("-inf"), "-inf"),
    ],
)
def test_numbers_are_short(value, expected):
    assert number_text(value) == expected
    assert len(expected) <= 7


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [("1/2", FOUR), ("2/2", FOUR)]),
        ({"check_val_every_n_epoch": 2}, [("1/2", TRAIN), ("2/2", FOUR)]),
        ({"max_epochs": 3, "check_val_every_n_epoch": 2}, [("1/3", TRAIN), ("2/3", FOUR), ("3/3", TRAIN)]),
        ({"val_check_interval": 1}, [("1/2", FOUR), ("2/2", FOUR)]),
        ({"limit_val_batches": 0}, [("1/2", TRAIN), ("2/2", TRAIN)]),
        ({"max_epochs": -1, "max_steps": 4}, [("1", FOUR), ("2", TRAIN)]),
        ({"max_epochs": 2, "max_steps": 2}, [("1/2", TRAIN)]),
        ({"num_sanity_val_steps": 2, "limit_val_batches": 1}, [("1/2", FOUR), ("2/2", FOUR)]),
        ({"num_sanity_val_steps": 2, "check_val_every_n_epoch": 2}, [("1/2", TRAIN), ("2/2", FOUR)]),
        ({"max_epochs": 10, "limit_train_batches": 1}, [(f"{epoch:2}/10", FOUR) for epoch in range(1, 11)]),
        ({"max_epochs": 0}, []),
        ({"bar": TimedProgressBar(refresh_rate=0)}, []),
    ],
)
def test_lines_without_a_terminal(options, expected, pipe):
    trainer = train(pipe, **options)
    printed = pipe.getvalue().splitlines(keepends=True)
    assert len(printed) == len(expected), printed
    for line, (number, metrics) in zip(printed, expected, strict=True):
        assert re.fullmatch(rf"Epoch {number}: {metrics}, \d+\.\d s\n", line), line
    if expected:  # the last one shows what the run ends with
        loss = re.search(r"loss (\S+)", printed[-1])[1]
        if "max_steps" not in options:
            assert float(loss) == pytest.approx(trainer.callback_metrics["train/loss"].item(), abs=6e-5)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize("leave", [False, True])
@pytest.mark.parametrize("is_terminal", [False, True])
def test_run_continues_within_an_epoch(is_terminal, leave, terminal, tmp_path):
    terminal.is_terminal = is_terminal
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1)
    train(terminal, max_steps=4, enable_checkpointing=True, callbacks=[saver])
    terminal.truncate(0)
    terminal.seek(0)
    [path] = tmp_path.glob("*step=4.ckpt")
    train(terminal, max_epochs=3, ckpt_path=path, bar=TimedProgressBar(leave=leave))
    if is_terminal:
        assert re.match(r"Epoch 2/3  33%\|", terminal.texts[0]), terminal.texts[0]
        assert "Epoch 2/3  67%" in terminal.getvalue()
        stays = ["Epoch 2/3", "Epoch 3/3"] if leave else ["Epoch 3/3"]
        assert [line[:9] for line in terminal.screen] == [*stays, ""]
        assert all("100%" in line for line in terminal.screen[:-1])
    else:
        assert [line.split(":")[0] for line in terminal.getvalue().splitlines()] == ["Epoch 2/3", "Epoch 3/3"]


@pytest.mark.parametrize(
    ("stage", "description"), [("validate", "Validation"), ("test", "Testing"), ("predict", "Predicting")]
)
@pytest.mark.parametrize("is_terminal", [False, True])
def test_other_stages(stage, description, is_terminal, terminal):
    terminal.is_terminal = is_terminal
    run = getattr(make_trainer(), stage)
    with contextlib.redirect_stdout(terminal):
        run(MODEL, data(), **({} if stage == "predict" else {"verbose": False}))
    if is_terminal:
        assert re.match(rf"{description} 100%\|#+\| 3/3 ", terminal.screen[0])
        assert terminal.screen[1:] == [""]
        assert max(map(len, terminal.texts)) < 80
        assert f"{description}  67%" in terminal.getvalue()
    else:
        assert terminal.getvalue() == ""


class Own(pl.LightningModule):
    """A module that logs under names of its own, and has two loaders of validation data."""

    def __init__(self, fails_at=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.fails_at = fails_at

    def training_step(self, batch, batch_idx):
        if batch_idx == self.fails_at:
            raise ValueError("broken")
        self.print("a line")
        self.log("my_loss", self.weight**2, prog_bar=True, on_epoch=True)
        return self.weight**2

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("share", 0.25, prog_bar=True)

    def val_dataloader(self):
        return [data().val_dataloader(), data().test_dataloader()]

    def train_dataloader(self):
        return data().train_dataloader()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("is_terminal", [False, True])
def test_modules_own_metrics_and_loaders(is_terminal, terminal):
    terminal.is_terminal = is_terminal
    with contextlib.redirect_stdout(terminal):
        make_trainer(max_epochs=1).fit(Own())
    printed = terminal.screen
    assert [line for line in printed if line == "a line"] == ["a line"] * 3  # above the bar
    names = ["my_loss_step", "my_loss_epoch", "share/dataloader_idx_0", "share/dataloader_idx_1"]
    if is_terminal:
        assert "Val   1/1 1/2 100%" in terminal.getvalue()
        assert "Val   1/1 2/2 100%" in terminal.getvalue()
        assert max(map(len, terminal.texts)) < 80
        assert re.match(r"Epoch 1/1 100%\|#+\| .* my_loss_step 0.0000", printed[-2])
    else:
        found = re.findall(r"([\w/]+) \d\.\d{4}", printed[-2])
        assert sorted(found) == sorted(names)


@pytest.mark.parametrize("is_terminal", [False, True])
def test_error_begins_a_line(is_terminal, terminal):
    terminal.is_terminal = is_terminal
    module = Own(fails_at=1)
    with contextlib.redirect_stdout(terminal), pytest.raises(ValueError, match="broken"):
        make_trainer().fit(module)
    assert terminal.screen[-1] == ""
    assert ("Epoch 1/2" in terminal.getvalue()) == is_terminal
    assert "on_train_epoch_end" not in vars(module)  # the module is as before


@pytest.mark.parametrize("is_terminal", [False, True])
def test_only_the_first_process_shows_progress(is_terminal, terminal, monkeypatch):
    terminal.is_terminal = is_terminal
    monkeypatch.setattr(pl.Trainer, "is_global_zero", property(lambda self: False))
    train(terminal)
    assert terminal.getvalue() == ""


def test_bar_is_drawn_at_intervals(terminal, monkeypatch):
    monkeypatch.setattr(ProgressLine, "interval", 3600.0)
    monkeypatch.setattr(ProgressLine, "_last_drawn", float("inf"))
    read = []

    class Bar(TimedProgressBar):
        def get_metrics(self, trainer, pl_module):
            read.append(trainer.current_epoch)
            return super().get_metrics(trainer, pl_module)

    monkeypatch.setattr(ProgressLine, "draw", lambda self: None)
    train(terminal, bar=Bar())
    assert read == [0, 0, 1, 1]  # after the validations and the epochs
    assert len(terminal.texts) == 1  # when the bar ends


def test_refresh_rate_and_environment(terminal, monkeypatch):
    monkeypatch.setenv("TQDM_MINITERS", "3")
    train(terminal)
    text = terminal.getvalue()
    assert " 33%" not in text
    assert " 67%" not in text
    assert "Epoch 2/2 100%" in text


def test_bar_can_be_pickled():
    """Spawned processes get a pickled copy."""
    bar = TimedProgressBar()
    make_trainer(bar=bar)
    pickle.loads(pickle.dumps(bar))
