"""Entry point of the command line: `seqlight` and `python -m seqlight`.

`--help` and `--version` are answered here, without importing torch.
"""

import sys

import seqlight

_HELP = """\
usage: seqlight fit|validate|test|predict|check|cells|tasks [options]

Train, evaluate and use recurrent sequence classifiers.

  seqlight fit                                       train an LSTM on the SumSign task
  seqlight fit --model.cell GRUCell --model.cell.hidden_size 64 --data.task Parity
  seqlight fit --model.cell mycells.LeakyCell        a cell of your own, from mycells.py in this folder
  seqlight fit --config run.yaml --trainer.max_epochs 20 --device gpu
  seqlight test --ckpt_path runs/.../best.ckpt       loss and metrics on the test split
  seqlight validate --ckpt_path runs/.../best.ckpt   the same on the validation split
  seqlight predict --ckpt_path runs/.../best.ckpt    probabilities for the predict split, as CSV
  seqlight fit --data SequenceFiles --data.train a.csv    your own sequences; see fit --data.help SequenceFiles
  seqlight check mycells.LeakyCell                   check that a cell is correct, and measure its speed
  seqlight cells                                     list all cells; --import mycells adds your own
  seqlight tasks                                     list all tasks, with the accuracy of simple baselines

  seqlight fit --help             all options of a command
  seqlight fit --print_config     the configuration, with all defaults, as YAML
  seqlight --version
"""


def main() -> int:
    """Run the command line and return the exit status (listed in the README)."""
    arguments = sys.argv[1:]
    if arguments in ([], ["-h"], ["--help"]):
        print(_HELP, end="")
        return 0 if arguments else 2
    if arguments == ["--version"]:
        print(f"seqlight {seqlight.__version__}")
        return 0

    from seqlight.cli.main import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
