"""Steps with non-finite values are skipped if asked for."""

import copy
import math

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional

from seqlight import NonFiniteError
from seqlight.callbacks.logger import CurvesLogger
from tests.training.breaking import BATCHES, Breaking, data, saver, trainer_for

pytestmark = pytest.mark.filterwarnings(
    "ignore:The number of training batches",
    "ignore:The dirpath has changed",
    "ignore:Be aware that when using `ckpt_path`",
    "ignore:Checkpoint directory",
)


def by_hand(model, module, skips, clips, accumulate, max_epochs=3):
    """Train in a plain loop that leaves out the steps of `skips`, not their rates; returns each epoch's mean loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    step, means, loader = 0, [], module.train_dataloader()
    for epoch in range(max_epochs):
        loader.set_epoch(epoch)
        sums, batches = [], list(loader)
        for first in range(0, len(batches), accumulate):
            optimizer.param_groups[0]["lr"] = (
                0.01 * (1 + math.cos(math.pi * step / (max_epochs * -(-BATCHES // accumulate)))) / 2
            )
            optimizer.zero_grad()
            losses = []
            for batch in batches[first : first + accumulate]:
                loss = functional.binary_cross_entropy_with_logits(model(batch.inputs, batch.lengths), batch.targets)
                (loss / accumulate).backward()
                losses.append((loss.item() * len(batch.targets), len(batch.targets)))
            step += 1
            taken = range(first, min(first + accumulate, BATCHES))
            if not any(skips(epoch, number, batches[number]) for number in taken):
                sums += losses
                if clips:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
        means.append(sum(loss for loss, _ in sums) / sum(size for _, size in sums))
    return means


@pytest.mark.parametrize(("accumulate", "clips"), [(1, True), (1, False), (2, True)])
@pytest.mark.parametrize("where", ["data", "loss", "gradient"])
def test_skipped_steps_change_nothing(where, accumulate, clips, tmp_path):
    model = Breaking(where, non_finite="skip")
    reference = copy.deepcopy(model)
    module = data(30 if where == "data" else -1)
    trainer = trainer_for(
        tmp_path,
        logger=CurvesLogger(tmp_path),
        log_every_n_steps=1000,  # so each epoch has one point, at its end
        gradient_clip_val=1.0 if clips else None,
        accumulate_grad_batches=accumulate,
        enable_checkpointing=False,
    )
    trainer.fit(model, module)

    def skips(epoch, number, batch):
        return not batch.inputs.isfinite().all() if where == "data" else (epoch, number) == (1, 2)

    means = by_hand(reference, module, skips, clips, accumulate)
    torch.testing.assert_close(model.state_dict(), reference.state_dict(), rtol=0, atol=0)
    events = EventAccumulator(trainer.logger.log_dir).Reload()
    assert [point.value for point in events.Scalars("train/loss")] == pytest.approx(means, rel=1e-5)
    for tag in events.Tags()["scalars"]:
        assert all(math.isfinite(point.value) for point in events.Scalars(tag)), tag
    skipped = events.Scalars("train/skipped")[-1].value
    assert skipped == model.skipped_batches
    assert 1 <= skipped <= (3 if where == "data" else 1) * accumulate
    torch.testing.assert_close(trainer.callback_metrics["train/loss"].item(), means[-1], rtol=1e-5, atol=0)


def test_epoch_without_a_step_stops_training(tmp_path):
    with pytest.raises(NonFiniteError, match=r"step 5 .*\n.*\nno step of the epoch or run would be taken"):
        trainer_for(tmp_path).fit(Breaking("gradient", at="always", non_finite="skip"), data())
    with pytest.raises(NonFiniteError, match=r"step 3 "):
        trainer_for(tmp_path, max_steps=3).fit(Breaking("loss", at="always", non_finite="skip"), data())


def test_resumed_run_keeps_its_count(tmp_path):
    trainer_for(tmp_path, saver(tmp_path), max_epochs=1).fit(Breaking("loss", at=(0, 1), non_finite="skip"), data())
    model = Breaking("loss", at=(1, 2), non_finite="skip")
    trainer_for(tmp_path, max_epochs=2).fit(model, data(), ckpt_path=tmp_path / "best.ckpt")
    assert model.skipped_batches == 2
    trainer_for(tmp_path, max_epochs=1).fit(model, data())  # another run
    assert model.skipped_batches == 0
