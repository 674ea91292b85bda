"""Run a small training when imported: the server of tests/processes.py does, before it forks.

The first training of a process spends a second on imports, fonts and caches of types. The forked processes inherit
these; the environment is as before, and a command sets seeds, threads and handlers of signals itself.
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
