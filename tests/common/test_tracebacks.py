import os

import lightning.pytorch as pl
import pytest
import torch

from seqlight.common.tracebacks import error_files, is_in


def test_error_files():
    with pytest.raises(AttributeError) as caught:
        torch.nn.Identity().backbone  # noqa: B018
    files = error_files(caught.value)
    assert files[0] == __file__
    assert is_in(files[-1], "torch")
    with pytest.raises(ValueError, match="own") as caught:
        raise ValueError("own")
    assert error_files(caught.value) == [__file__]


def test_other_folders_with_the_name_of_a_package_are_not_the_package():
    folder = os.path.dirname(torch.__file__)
    assert is_in(os.path.join(folder, "nn", "modules", "module.py"), "torch")
    assert is_in(pl.callbacks.__file__, "lightning.pytorch.callbacks")
    assert not is_in(pl.__file__, "lightning.pytorch.callbacks")
    for file in ("/opt/torch/lib/python3/site-packages/x.py", folder + "-own/x.py", "/home/torch/x.py", "<string>"):
        assert not is_in(file, "torch")
    assert not is_in(__file__, "a_package_that_is_not_imported")
