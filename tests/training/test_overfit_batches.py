"""`overfit_batches` trains the same batches in each epoch."""

import lightning.pytorch as pl
import pytest
import torch

from seqlight import SequenceFiles, SumSign, SyntheticSequences
from tests.training.small_models import model_for, trainer

pytestmark = pytest.mark.filterwarnings(
    "ignore:You requested to overfit", "ignore:The number of training batches", "ignore:You defined a `validation_step`"
)


class Seen(pl.Callback):
    def __init__(self):
        self.train, self.val = {}, {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.train.setdefault(trainer.current_epoch, []).append(batch.inputs.sum().item())

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.val.setdefault(trainer.current_epoch, []).append(batch.inputs.sum().item())


def synthetic(tmp_path):
    return SyntheticSequences(SumSign(min_length=2), num_train=100, num_val=50, batch_size=8)


def files(tmp_path):
    rows = [f"{i},{i % 17 - t},{'ab'[i % 2]}" for i in range(100) for t in range(1 + i % 7)]
    (tmp_path / "a.csv").write_text("\n".join(["id,x,label", *rows]))
    return SequenceFiles(tmp_path / "a.csv", batch_size=8)


@pytest.mark.parametrize("with_data_module", [True, False])
@pytest.mark.parametrize("overfit_batches", [1, 3, 0.5])
@pytest.mark.parametrize("source", [synthetic, files])
def test_each_epoch_trains_the_first_batches(source, overfit_batches, with_data_module, tmp_path):
    seen, data = Seen(), source(tmp_path)
    run = trainer(tmp_path, max_epochs=3, overfit_batches=overfit_batches, callbacks=[seen], enable_checkpointing=False)
    model = model_for(data)
    loader, val_loader = data.train_dataloader(), data.val_dataloader()
    if with_data_module:
        run.fit(model, data)
    else:
        run.fit(model, loader, val_loader)
        loader = data.train_dataloader()
    loader.shuffle = loader.bucketing = False
    for batches, found in ((loader, seen.train), (val_loader, seen.val)):
        number = overfit_batches if isinstance(overfit_batches, int) else int(overfit_batches * len(batches))
        expected = [batch.inputs.sum().item() for batch in batches][:number]
        assert found == dict.fromkeys(range(3), expected)


def test_a_loader_is_shuffled_again_afterwards(tmp_path):
    data = synthetic(tmp_path)
    loader, model = data.train_dataloader(), model_for(data)
    options = {"max_epochs": 2, "enable_checkpointing": False}
    trainer(tmp_path, overfit_batches=2, **options).fit(model, loader)
    seen = Seen()
    trainer(tmp_path, callbacks=[seen], **options).fit(model, loader)
    assert seen.train[0] != seen.train[1]


class Plain(pl.LightningModule):
    """A user's own module, which does not know the loaders of seqlight."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch.inputs).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader`")
def test_another_module_trains_the_first_batches_too(tmp_path):
    seen, data = Seen(), synthetic(tmp_path)
    run = trainer(tmp_path, max_epochs=3, overfit_batches=2, callbacks=[seen], enable_checkpointing=False)
    run.fit(Plain(), data)
    assert seen.train[0] == seen.train[1] == seen.train[2]
