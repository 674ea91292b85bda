"""Entry point of the command line: `seqlight` and `python -m seqlight`.

`--help`, `--version` and words that no command accepts are answered here, without importing torch.
"""

import contextlib
import importlib
import os
import signal
import sys
import time


def _stop(signum: int, _frame: object) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"seqlight: stopped by {signal.Signals(signum).name}\n".encode())
    os._exit(128 + signum)


for _signum in (signal.SIGINT, signal.SIGTERM):  # the imports below take long enough to be interrupted
    signal.signal(_signum, _stop)
_STARTED = time.time()

from seqlight.checkpoints.signals import exit_on_signals, signals_handled  # noqa: E402
from seqlight.cli.flag_names import wrong_word  # noqa: E402
from seqlight.cli.help_page import help_page  # noqa: E402
from seqlight.cli.output import output_error, use_safe_output  # noqa: E402
from seqlight.common.text import visible  # noqa: E402
from seqlight.common.user_modules import import_in_child_process  # noqa: E402

_HELP = """\
usage: seqlight fit|validate|test|predict|data|check|cells|tasks [options]

Train, evaluate and use recurrent sequence classifiers.

  seqlight fit                          train an LSTM on the SumSign task
  seqlight fit --model.cell GRUCell --model.cell.hidden_size 64 --name gru
  seqlight fit --model.cell mycells.LeakyCell
                                        a cell of your own, from mycells.py here
  seqlight data a.csv                   what would be read from a file of yours
  seqlight fit --data SequenceFiles --data.train a.csv
                                        your own sequences
  seqlight fit --config run.yaml --trainer.max_epochs 20 --device gpu
  seqlight test --ckpt_path runs/gru    metrics of the run on
                                        the test split; validate: validation
  seqlight predict --ckpt_path runs/gru --data.predict new.csv
                                        probabilities, as CSV
  seqlight check mycells.LeakyCell      check that a cell is correct
  seqlight cells                        list all cells
  seqlight tasks                        list all tasks, with simple baselines

  seqlight fit --help                   the options of a command
  seqlight fit --print_config           all options, with their values, as YAML
  seqlight --version
"""

import_in_child_process()


def main() -> int:
    """Run the command line and return the exit status (listed in docs/cli.md)."""
    arguments = sys.argv[1:]
    use_safe_output()
    with signals_handled(importing=True):
        try:
            status, prints_only = _run(arguments), arguments[:1] not in (["fit"], ["predict"])
        except SystemExit as stop:  # after --help and --print_config
            status, prints_only = stop.code if isinstance(stop.code, int) else int(stop.code is not None), True
            if isinstance(stop.code, str):  # from the user's code
                print(stop.code, file=sys.stderr)
    if error := output_error():
        status, kind = (5, "error") if prints_only and status == 0 else (status, "warning")
        print(f"seqlight: {kind}: can't write to standard output: {error.strerror}", file=sys.stderr)
    exit_on_signals(status)
    return status


def _run(arguments: list[str]) -> int:
    if arguments[:1] in (["-h"], ["--help"], ["help"]) and arguments[1:]:
        arguments = [arguments[1], "--help"]
    if arguments in ([], ["-h"], ["--help"], ["help"]):
        print(_HELP, end="")
        return 0 if arguments else 2
    if arguments == ["--version"]:
        import seqlight

        print(f"seqlight {seqlight.__version__}")
        return 0

    if "LOCAL_RANK" not in os.environ and (message := wrong_word(arguments)):
        # `run` refuses it too, and in processes that torchrun started only one of them should say so.
        print(f"seqlight: error: {visible(message)}", file=sys.stderr)
        return 2
    if page := help_page(arguments):
        print(page, end="")
        return 0

    with contextlib.suppress(FileNotFoundError), contextlib.chdir(os.path.dirname(__file__)):
        if arguments[0] not in ("cells", "tasks") or any(word.startswith("--import") for word in arguments):
            # It reads a file `matplotlibrc` in the current folder, which can come with somebody's data.
            from seqlight.figures.canvas import import_matplotlib

            import_matplotlib()  # before torchmetrics does, which fails if MPLBACKEND does
        importlib.import_module("seqlight.cli.main")
    from seqlight.cli.main import run
    from seqlight.common.text import show_exception

    sys.excepthook = show_exception
    return run(arguments, started=_STARTED)


if __name__ == "__main__":
    sys.exit(main())
