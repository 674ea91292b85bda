"""Scripts run as programs, in processes of their own that need not import torch and Lightning again."""

import multiprocessing
import os
import runpy
import sys

if "forkserver" in multiprocessing.get_all_start_methods():
    import tests.processes  # noqa: F401 - chooses what the server imports

    _CONTEXT = multiprocessing.get_context("forkserver")
else:
    _CONTEXT = multiprocessing.get_context("spawn")


def run_program(script, *arguments, folder, seconds=120):
    """Run a script in a folder; returns its exit status, standard output and standard error."""
    process = _CONTEXT.Process(target=_run, args=(str(script), arguments, str(folder)))
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode, (folder / "out").read_text(), (folder / "err").read_text()


def _run(script, arguments, folder):
    os.chdir(folder)
    for name, stream in (("out", 1), ("err", 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
