"""Recurrent sequence classification with PyTorch Lightning.

`__init__.pyi` lists the public names and their modules. Each is imported on first use, so that
`import seqlight` and `seqlight --version` do not wait for torch.
"""

import importlib.metadata

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = importlib.metadata.version("seqlight")
