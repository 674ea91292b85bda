"""Recurrent sequence classification with PyTorch Lightning.

`__init__.pyi` lists the public names and their modules. Each is imported on first use, so that
`import seqlight` and `seqlight --version` do not wait for torch.
"""

from typing import Any

import lazy_loader

_attribute, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    """Import a public name. `__version__` is one too: its module would take most of the time of `import seqlight`."""
    if name != "__version__":
        return _attribute(name)
    import importlib.metadata

    return importlib.metadata.version("seqlight")
