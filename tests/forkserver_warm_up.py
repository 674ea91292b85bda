"""Importing this module runs a small training. The server of tests/processes.py imports it before it forks.

The first training in a process spends most of a second on late imports, fonts and caches. Forked processes inherit
these. The environment is restored, and each command sets its own seeds, threads and signal handlers.
"""

import contextlib
import io
import os
import tempfile

import torch.distributed.run  # noqa: F401 - for processes that torchrun starts

from seqlight.cli.main import run

_environment = dict(os.environ)
with tempfile.TemporaryDirectory() as _folder, contextlib.redirect_stdout(io.StringIO()):
    _sizes = [f"--data.num_{split}=8" for split in ("train", "val")]
    _flags = ("--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--device=cpu", "--num_threads=1")
    assert run(["fit", *_sizes, *_flags, f"--trainer.default_root_dir={_folder}"]) == 0
os.environ.clear()
os.environ.update(_environment)
