"""The learning rate over a run, and the batches of a run that stops within an epoch."""

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from seqlight import SumSign, SyntheticSequences
from tests.training.small_models import model_for, trainer

pytestmark = pytest.mark.filterwarnings("ignore:The number of training batches")


def test_learning_rate_falls_along_a_cosine(tmp_path):
    data = SyntheticSequences(SumSign(), num_train=320)
    rates = []

    class Watch(pl.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            rates.append(optimizer.param_groups[0]["lr"])

    trainer(tmp_path, max_epochs=3, callbacks=[Watch()]).fit(model_for(data), data)
    steps = torch.arange(30, dtype=torch.float64)
    expected = 0.01 * (1 + torch.cos(torch.pi * steps / 30)) / 2
    torch.testing.assert_close(torch.tensor(rates, dtype=torch.float64), expected)


@pytest.mark.filterwarnings("ignore:The dirpath has changed", "ignore:Be aware that when using `ckpt_path`")
def test_run_that_stops_within_an_epoch_continues_with_the_next_batch(tmp_path):
    data = SyntheticSequences(SumSign(), num_train=320, batch_size=32)

    class Watch(pl.Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.seen += batch.inputs[:, 0, 0].tolist()

    whole, after = Watch(), Watch()
    keep_all = ModelCheckpoint(tmp_path / "all", "{step}", every_n_train_steps=1, save_top_k=-1)
    trainer(tmp_path, max_epochs=2, callbacks=[whole, keep_all]).fit(model_for(data), data)
    for step in (4, 10, 13):
        after.seen = []
        path = tmp_path / "all" / f"step={step}.ckpt"
        trainer(tmp_path / f"{step}", max_epochs=2, callbacks=[after]).fit(model_for(data), data, ckpt_path=path)
        assert after.seen == whole.seen[32 * step :]
