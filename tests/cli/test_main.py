import pytest

from seqlight import SequenceClassifier
from seqlight.cli.main import is_deliberate


def test_is_deliberate():
    with pytest.raises(ValueError, match="learning_rate") as check:
        SequenceClassifier(input_size=1, learning_rate=-1.0)
    assert is_deliberate(check.value)
    with pytest.raises(TypeError) as mistake:
        SequenceClassifier(input_size=1).load_state_dict(None)
    assert not is_deliberate(mistake.value)
