"""Recurrent sequence classification with PyTorch Lightning.

`__init__.pyi` lists the public names and their modules. Each is imported on first use, so that
`import seqlight` and `seqlight --version` do not wait for torch.
"""

import sys

# `python -m seqlight` puts the current folder first on sys.path, where a file can take the place of any module. Python
# sets "-m" for as long as it looks for `seqlight.__main__`, which begins here.
if sys.argv[:1] == ["-m"] and {"seqlight", "seqlight.__main__"} & {*sys.orig_argv} and not sys.flags.safe_path:
    del sys.path[0]

from typing import Any

import lazy_loader

_attribute, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    """Import a public name. `__version__` is one too: its module would take most of the time of `import seqlight`."""
    if name != "__version__":
        return _attribute(name)
    import importlib.metadata

    return importlib.metadata.version("seqlight")
