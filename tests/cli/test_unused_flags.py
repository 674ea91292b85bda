"""Flags that have no effect are said, in one line each; the command goes on."""

import pytest

import seqlight
from tests.cli.commands import QUIET, SMALL, fit
from tests.conftest import seqlight_run

pytestmark = pytest.mark.usefixtures("user_folder", "without_type_checks")


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        (
            ["--model.dropout=0.3", "--model.norm=layer", "--model.residual=true"],
            ["--model.dropout 0.3", "--model.norm layer", "--model.residual true"],
        ),
        (["--model.dropout=0.3", "--model.norm=layer", "--model.residual=true", "--model.num_layers=2"], []),
        (["--model.embedding_size=8"], ["--model.embedding_size 8"]),
        (["--model.embedding_size=8", "--data.task=Parity"], []),
        (["--output=a.csv", "--name", "resume"], ["--output"]),
    ],
)
def test_fit_names_the_flags_that_have_no_effect(flags, lines):
    status, _, err = seqlight_run("fit", *SMALL, *QUIET, *flags)
    assert status == 0, err
    found = [line for line in err.splitlines() if "has no effect" in line]
    assert [line.partition(" has no effect ")[0] for line in found] == [f"seqlight: {each}" for each in lines]
    assert len(err.splitlines()) == len(found)
    if lines:
        assert found[0].partition(" has no effect ")[2] in (
            "with one layer",
            "without tokens",
            "on fit, only on predict",
        )


def test_other_commands_name_the_flags_of_training():
    path = fit("--name=run")
    flags = ("--fresh", "--optimizer.eps=1e-3", "--model.learning_rate", "0.3", "--checkpoint.mode=max", "--name=x")
    status, _, err = seqlight_run("predict", f"--ckpt_path={path}", "--device=cpu", *QUIET[:1], *flags)
    assert status == 0, err
    found = [line.removeprefix("seqlight: ") for line in err.splitlines() if "has no effect" in line]
    assert found == [
        *(
            f"--{name} has no effect on predict, only on fit"
            for name in ("fresh", "model.optimizer.eps", "model.learning_rate", "checkpoint.mode")
        ),
        "--name has no effect on predict, only on fit and validate and test",
    ]


def test_checkpoint_is_used_without_a_warning():
    path = fit("--model.dropout=0.3")
    seqlight.load(path)  # a warning would be an error here
    status, _, err = seqlight_run("test", f"--ckpt_path={path}", "--device=cpu", *QUIET[:1])
    assert (status, err) == (0, "")
