import pytest

from seqlight import SequenceClassifier
from seqlight.cli.main import is_deliberate
from tests.cli.commands import python


def test_is_deliberate():
    with pytest.raises(ValueError, match="learning_rate") as check:
        SequenceClassifier(input_size=1, learning_rate=-1.0)
    assert is_deliberate(check.value)
    with pytest.raises(TypeError) as mistake:
        SequenceClassifier(input_size=1).load_state_dict(None)
    assert not is_deliberate(mistake.value)


def test_version_and_help_do_not_import_torch():
    for flag in ("--version", "--help"):
        program = f"import sys; sys.argv = ['seqlight', '{flag}']\nfrom seqlight.__main__ import main\nstatus = main()"
        result = python("-c", f"{program}\nassert 'torch' not in sys.modules and status == 0")
        assert "seqlight" in result.stdout
