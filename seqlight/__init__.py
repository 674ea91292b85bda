"""Recurrent sequence classification with PyTorch Lightning.

The public names are listed, with their modules, in `__init__.pyi`. They are imported on first use, so
that `import seqlight` and `seqlight --version` do not wait for torch.
"""

import importlib.metadata

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = importlib.metadata.version("seqlight")
