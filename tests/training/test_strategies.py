"""Strategies: one device and DDP train; all others are refused by name before training."""

import pytest
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from seqlight import SumSign, SyntheticSequences
from seqlight.training.trainer_settings import check_strategy
from tests.conftest import seqlight_run
from tests.training.small_models import model_for, trainer


class OwnStrategy(SingleDeviceStrategy):
    pass


class OwnDDP(DDPStrategy):
    """A subclass of DDPStrategy, like DeepSpeedStrategy and XLAStrategy."""


@pytest.mark.parametrize("strategy", [FSDPStrategy, ModelParallelStrategy, OwnDDP])
def test_strategy_is_refused_by_name(strategy):
    with pytest.raises(MisconfigurationException, match=rf"not with {strategy.__name__}: .*'auto' or 'ddp'"):
        check_strategy(strategy())


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_strategy_is_refused_before_the_first_batch(command, tmp_path):
    data = SyntheticSequences(SumSign(), num_train=8, num_val=8, num_test=8)
    model = model_for(data)
    before = model.head.weight.clone()
    run = trainer(tmp_path, strategy=OwnStrategy("cpu"), enable_checkpointing=False)
    with pytest.raises(MisconfigurationException, match="not with OwnStrategy"):
        getattr(run, command)(model, data)
    assert model.head.weight.equal(before)


@pytest.mark.parametrize(
    "strategy",
    [
        *("fsdp", "fsdp_cpu_offload", "deepspeed", "deepspeed_stage_2", "deepspeed_stage_3_offload", "xla", "xla_fsdp"),
        *("ddp_spawn", "ddp_spawn_find_unused_parameters_true"),
        *("model_parallel", "lightning.pytorch.strategies.FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy"),
    ],
)
def test_command_line_refuses_a_strategy_by_name(strategy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = seqlight_run("fit", f"--trainer.strategy={strategy}", "--device=cpu")
    assert status == 2
    assert strategy.rpartition(".")[2] in err
    assert err.endswith("seqlight trains on one device or with DDP; expected auto or ddp\n")
    assert not list(tmp_path.iterdir())
