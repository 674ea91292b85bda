import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from seqlight import SequenceClassifier
from seqlight.cli import lightning_cli
from seqlight.cli.reported_errors import is_deliberate
from tests.cli.commands import python
from tests.conftest import seqlight_run


def test_is_deliberate():
    with pytest.raises(ValueError, match="learning_rate") as check:
        SequenceClassifier(input_size=1, learning_rate=-1.0)
    assert is_deliberate(check.value)
    with pytest.raises(TypeError) as mistake:
        SequenceClassifier(input_size=1).load_state_dict(None)
    assert not is_deliberate(mistake.value)


ALLOCATIONS = {
    "CUDA": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ..."),
    "MPS": RuntimeError("MPS backend out of memory (MPS allocated: 8 GB). Tried to allocate 2 GB on private pool."),
    "CPU": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "CPU, on Windows": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] data. DefaultCPUAllocator: not enough memory: you tried to allocate "
        "4000000000000 bytes."
    ),
    "Python": MemoryError(),
    "numpy": MemoryError("Unable to allocate 2.00 GiB for an array with shape (268435456,) and data type float64"),
}


@pytest.mark.parametrize("name", ALLOCATIONS)
def test_out_of_memory_is_reported_with_the_way_out(name, monkeypatch, command_line_state):
    def fail(*_):
        raise ALLOCATIONS[name]

    monkeypatch.setattr(lightning_cli, "SeqlightCLI", fail)
    status, _, err = seqlight_run("fit")
    assert status == 2
    assert err.startswith("seqlight: error: not enough memory")
    assert "try a smaller --data.batch_size; in training, --trainer.accumulate_grad_batches" in err
    assert err.count("\n") <= 5
    details = {"CUDA": "2.00 GiB", "MPS": "2 GB", "Python": "", "numpy": "2.00 GiB"}
    assert details.get(name, "you tried to allocate 4000000000000 bytes") in err


def test_sigterm_that_lightning_handled_ends_the_command_as_a_signal(monkeypatch, command_line_state):
    def fail(*_):
        raise SIGTERMException

    monkeypatch.setattr(lightning_cli, "SeqlightCLI", fail)
    status, _, err = seqlight_run("fit")
    assert (status, err) == (143, "seqlight: stopped by SIGTERM; the same command continues from the last checkpoint\n")


@pytest.mark.parametrize("arguments", [["cells"], ["tasks"], ["cells", "--wrong"]], ids=" ".join)
def test_listings_do_not_import_lightning(arguments):
    heavy = {"lightning", "torchmetrics", "jsonargparse", "matplotlib", "pyarrow", "torch._dynamo", "scipy", "pandas"}
    program = f"import sys; sys.argv = ['seqlight', *{arguments}]\nfrom seqlight.__main__ import main\nstatus = main()"
    result = python("-c", f"{program}\nprint(status, sorted({heavy} & sys.modules.keys()))")
    assert result.stdout.splitlines()[-1] == f"{2 * (len(arguments) - 1)} []"


def test_version_and_help_do_not_import_torch():
    for flag in ("--version", "--help"):
        program = f"import sys; sys.argv = ['seqlight', '{flag}']\nfrom seqlight.__main__ import main\nstatus = main()"
        result = python("-c", f"{program}\nassert 'torch' not in sys.modules and status == 0")
        assert "seqlight" in result.stdout
