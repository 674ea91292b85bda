"""Modules in the current folder: those that the command line names are imported, others never."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import QUIET, SMALL
from tests.conftest import seqlight_run

# Names that the libraries look for without an installed module, recorded by a finder at the end of `sys.meta_path`.
OPTIONAL = """
_jsonnet _winapi adlfs apex argcomplete backports botocore charset_normalizer colorama comet_ml cuda cython
deepspeed dill envwrap flint fx2trt_oss gammatone gcsfs gmpy gmpy2 habana_frameworks hydra ipywidgets isal
librosa lightning_habana lightning_sdk litmodels lz4 lzmaffi mlflow monkeytype mpi4py msvcrt neptune omegaconf
onnx onnx_tf onnxruntime opt_einsum org pesq pydantic pydot pynvml pystoi redis regex requests rich ruamel
s3fs scienceplots scikits sitecustomize sksparse snappy tabulate tensorboardX tensorflow tensorrt toml
torch2trt torch_fidelity torch_xla torchcomms torchdistx torchvision transformer_engine transformers tree
triton tvm typeguard uarray usercustomize wandb winreg xarray z3 zstandard
""".split()
# Names of modules that exist, which a file must not replace.
INSTALLED = "csv random inspect ast email zipfile lazy_loader yaml numpy torch lightning tensorboard typeguard".split()

PROGRAM = """
import sys
from seqlight.__main__ import main

for arguments in {commands}:
    sys.argv = ["seqlight", *arguments]
    try:
        status = main()
    except SystemExit as stop:
        status = stop.code
    assert not status, arguments
"""


@pytest.fixture
def foreign_folder(short_run, tmp_path, monkeypatch):
    """A folder with a checkpoint and with files that have the names of modules, as the current folder."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    shutil.copy(next(short_run.rglob("best.ckpt")), folder)
    for name in (*OPTIONAL, *INSTALLED):
        (folder / f"{name}.py").write_text(f"open('executed_{name}', 'w').close()")
    (folder / "matplotlibrc").write_text("text.usetex: True")  # would start LaTeX
    monkeypatch.chdir(folder)
    return folder


def executed(folder):
    return sorted(path.name for path in folder.glob("executed_*"))


def test_no_command_runs_a_file_that_it_does_not_name(foreign_folder, tmp_path):
    trained = ["--ckpt_path", "best.ckpt", "--device", "cpu"]
    commands = [
        *([verb, *trained] for verb in ("test", "validate", "predict")),
        ["fit", *SMALL],
        ["check", "MGUCell"],
        ["cells"],
        ["tasks"],
        ["data", "steps.csv", "--figure", "data.png"],
        ["fit", "--help"],
        ["fit", "--print_config"],
    ]
    rows = [f"{i},{step},{i % 2},{'ab'[i % 2]}" for i in range(10) for step in range(2)]
    Path("steps.csv").write_text("\n".join(["id,step,x,label", *rows]))
    (tmp_path / "program.py").write_text(PROGRAM.format(commands=commands))
    subprocess.run([sys.executable, "../program.py"], check=True, timeout=200, capture_output=True)
    assert executed(foreign_folder) == []
    assert Path("predictions.csv").exists()


TEST = ["-m", "seqlight", "test", "--ckpt_path", "best.ckpt", "--device", "cpu"]
TORCHRUN = ["-P", "-m", "torch.distributed.run", "--nproc_per_node=2"]


@pytest.mark.parametrize(
    "arguments",
    [
        TEST,
        pytest.param([*TORCHRUN, *TEST], marks=pytest.mark.long),
        pytest.param([*TEST, "--trainer.devices=2"], marks=pytest.mark.long),
    ],
    ids=["python -m", "torchrun", "Lightning"],
)
def test_python_m_takes_the_folder_off_the_path(foreign_folder, arguments):
    done = subprocess.run([sys.executable, *arguments], check=True, timeout=200, capture_output=True, text=True)
    assert "accuracy" in done.stdout
    assert executed(foreign_folder) == []


LEAKY = Path(__file__).with_name("conftest.py").read_text().split('"""')[1]


def test_a_users_module_can_import_one_beside_it(tmp_path, monkeypatch, command_line_state):
    monkeypatch.chdir(tmp_path)
    Path("base_cells.py").write_text(LEAKY)
    Path("cells_beside.py").write_text("from base_cells import LeakyCell\n\nclass Mine(LeakyCell):\n    pass\n")
    Path("run.yaml").write_text(
        "model:\n  class_path: seqlight.SequenceClassifier\n  init_args: {cell: cells_beside.Mine}"
    )
    status, _, err = seqlight_run("fit", "--config=run.yaml", *SMALL, *QUIET)
    assert (status, err) == (0, "")
    assert Path("mycells_was_imported").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "--model.cell=random.LeakyCell"],
        ["check", "random.LeakyCell"],
        ["cells", "--import=random"],
        ["fit", "--import=random"],
    ],
)
def test_a_file_with_the_name_of_another_module_is_refused(arguments, tmp_path, monkeypatch, command_line_state):
    monkeypatch.chdir(tmp_path)
    Path("random.py").write_text(LEAKY)
    status, _, err = seqlight_run(*arguments)
    assert status == 2
    assert 1 <= len(err.splitlines()) <= 5
    assert f"{tmp_path / 'random.py'} is hidden by another module random" in err
    assert not Path("mycells_was_imported").exists()
