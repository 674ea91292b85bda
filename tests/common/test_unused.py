"""Warnings about arguments that have no effect."""

import warnings

import pytest

from seqlight import ElmanCell, RecurrentStack, SequenceClassifier, SequenceFiles
from seqlight.common.unused import UnusedArgumentWarning, rebuilding


@pytest.mark.parametrize("argument", [{"dropout": 0.3}, {"norm": "layer"}, {"norm": "rms"}, {"residual": True}])
def test_arguments_between_layers_need_two_layers(argument):
    [(name, value)] = argument.items()
    message = rf"`{name}={value!r}` has no effect with one layer"
    with pytest.warns(UnusedArgumentWarning, match=message) as found:
        SequenceClassifier(ElmanCell, input_size=1, **argument)
    assert len(found) == 1
    with pytest.warns(UserWarning, match=message):
        RecurrentStack(ElmanCell, 1, bidirectional=True, **argument)
    RecurrentStack(ElmanCell, 1, num_layers=2, **argument)  # a warning would be an error here
    RecurrentStack(ElmanCell, 1, dropout=0.0, norm=None, residual=False)


def test_embedding_needs_tokens():
    with pytest.warns(UnusedArgumentWarning, match="`embedding_size=8` has no effect without tokens"):
        SequenceClassifier(ElmanCell, input_size=1, embedding_size=8)
    SequenceClassifier(ElmanCell, vocab_size=2, embedding_size=8)


def test_fraction_needs_to_be_taken(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["id,x,label", *(f"{number},0.5,{number % 2}" for number in range(20))]))
    with pytest.warns(UnusedArgumentWarning, match="`val_fraction=0.5` has no effect if `val` is given"):
        SequenceFiles(path, path, val_fraction=0.5)
    SequenceFiles(path, val_fraction=0.5)
    SequenceFiles(path, path)


def test_rebuilt_model_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with rebuilding():
            SequenceClassifier(ElmanCell, input_size=1, dropout=0.3)
        with pytest.raises(UnusedArgumentWarning):
            SequenceClassifier(ElmanCell, input_size=1, dropout=0.3)
