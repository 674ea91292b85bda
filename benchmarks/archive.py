"""Test accuracy of `seqlight fit` with no flag but the files, on public data sets with their given splits.

python benchmarks/archive.py FOLDER [--sets ArrowHead ...] [--seeds 3] [--against lstm_fcn] [-- --model.readout max ...]

The data sets are those of the UCR/UEA archive that the package sktime contains. To get the folder, which belongs
outside the repository:

pip download sktime==1.2.0 --no-deps && unzip -q sktime-*.whl 'sktime/datasets/data/*' -d archive
python benchmarks/archive.py archive/sktime/datasets/data

Each run is a process with one thread, one after another; seed s is that of the weights, of the order of the samples and
of the validation split. Seconds are those of a processor for `fit`, with its start and figures. Flags after `--` are
added to `fit`. A run that ends because its loss or gradient is not finite counts with accuracy 0.

With `--against lstm_fcn`, each run is followed by a fit of sktime's LSTMFCNClassifierTorch (`lstm_fcn.py`), where all
sequences have the same length. `--python` names the interpreter of an environment with sktime[dl] 1.2 and torch; by
default it is this one. It has 2000 epochs: OSULeaf takes an hour, and ACSF1 more.
"""

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

# The test accuracy of the nearest neighbour under dynamic time warping.
SHORT = {"JapaneseVowels": 0.949, "BasicMotions": 0.975, "ItalyPowerDemand": 0.950, "ArrowHead": 0.703}
DTW = {**SHORT, "OSULeaf": 0.591, "ACSF1": 0.640, "PLAID": 0.931}
NON_FINITE = 4  # the exit status
MEAN_OF_ALL, MEDIAN_OF_SHORT, SECONDS = 0.80, 0.93, 60  # targets
EQUAL_LENGTHS = ("BasicMotions", "ItalyPowerDemand", "ArrowHead", "OSULeaf", "ACSF1")
OF_ITS_TIME = 0.2  # the target against LSTM-FCN


def run(folder: str, *arguments: str) -> str:
    """Run seqlight with one thread in a folder; returns what it prints, or "" if the training diverged."""
    done = subprocess.run(
        [sys.executable, "-m", "seqlight", *arguments, "--device", "cpu"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode == NON_FINITE:
        print(f"seqlight {' '.join(arguments)}: {done.stderr}", file=sys.stderr)
        return ""
    if done.returncode != 0:
        sys.exit(f"seqlight {' '.join(arguments)}: status {done.returncode}\n{done.stderr}")
    return done.stdout


def train_and_test(archive: Path, name: str, seed: int, flags: list[str]) -> tuple[float, float, float, int]:
    """Test accuracy, that of the majority class, processor seconds of `fit`, and its steps."""
    train, test = (str(archive / name / f"{name}_{split}.ts") for split in ("TRAIN", "TEST"))
    files = ("--data", "SequenceFiles", "--data.train", train, "--data.test", test)
    seeds = ("--seed", str(seed), "--data.seed", str(seed))
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        printed = run(folder, "fit", *files, *seeds, "--name", "run", *flags)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        tested = run(folder, "test", "--ckpt_path", "runs/run") if printed else ""
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if not printed:
        return 0.0, 0.0, seconds, 0
    accuracy = re.search(r"^test +[\d.]+ +([\d.]+)", tested, re.MULTILINE)
    majority = re.search(r"majority (\S+),", tested)
    steps = re.search(r"^(\d+) steps", printed, re.MULTILINE)
    assert accuracy is not None, tested
    assert majority is not None, tested
    return float(accuracy[1]), float(majority[1]), seconds, int(steps[1]) if steps else 0


def fit_lstm_fcn(archive: Path, name: str, seed: int, python: str) -> tuple[float, float]:
    """Test accuracy of sktime's LSTM-FCN, and processor seconds of its `fit`."""
    script = Path(__file__).with_name("lstm_fcn.py")
    done = subprocess.run(
        [python, str(script), str(archive / name), "--seed", str(seed)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        sys.exit(f"{python} {script}: status {done.returncode}\n{done.stderr}")
    accuracy, seconds = map(float, done.stdout.splitlines()[-1].split())
    return accuracy, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder with NAME/NAME_TRAIN.ts and NAME/NAME_TEST.ts")
    parser.add_argument("--sets", nargs="+", choices=DTW, default=list(DTW), help="data sets; by default all seven")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--against", choices=("lstm_fcn",), help="train another classifier after each run")
    parser.add_argument("--python", default=sys.executable, help="the interpreter for the other classifier")
    words = sys.argv[1:]
    own, flags = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    arguments = parser.parse_args(own)
    archive = arguments.folder.resolve()
    for name in arguments.sets:
        if not (archive / name / f"{name}_TRAIN.ts").is_file():
            parser.error(f"no {name}/{name}_TRAIN.ts in {archive}; --help says how to get the data sets")

    print(
        f"{'':18}{'majority':>9}{'1-NN-DTW':>9}{'mean':>7}  {'by seed':{6 * arguments.seeds}}{'steps':>6}{'seconds':>9}"
    )
    means = {}
    for name in arguments.sets:
        runs, others = [], []
        for seed in range(arguments.seeds):
            runs.append(train_and_test(archive, name, seed, flags))
            if arguments.against and name in EQUAL_LENGTHS:
                others.append(fit_lstm_fcn(archive, name, seed, arguments.python))
        accuracies, majorities, seconds, steps = zip(*runs, strict=True)
        means[name] = statistics.mean(accuracies)
        by_seed = "".join(f"{each:6.3f}" for each in accuracies)
        print(
            f"{name:18}{max(majorities):9.3f}{DTW[name]:9.3f}{means[name]:7.3f}  {by_seed}{steps[0]:6}"
            f"{statistics.mean(seconds):9.0f}  (<= {SECONDS})",
            flush=True,
        )
        if others:
            accuracies, its_seconds = zip(*others, strict=True)
            by_seed = "".join(f"{each:6.3f}" for each in accuracies)
            ratio = statistics.mean(seconds) / statistics.mean(its_seconds)
            print(
                f"{'    LSTM-FCN':36}{statistics.mean(accuracies):7.3f}  {by_seed}{statistics.mean(its_seconds):15.0f}"
                f"  seqlight / LSTM-FCN {ratio:.2f} (<= {OF_ITS_TIME})",
                flush=True,
            )
    for label, names, summary, target in (
        ("median of short", SHORT, statistics.median, MEDIAN_OF_SHORT),
        ("mean of all", DTW, statistics.mean, MEAN_OF_ALL),
    ):
        if names.keys() <= means.keys():
            dtw, reached = (summary([values[name] for name in names]) for values in (DTW, means))
            print(f"{label:27}{dtw:9.3f}{reached:7.3f}  (>= {target})", flush=True)


if __name__ == "__main__":
    main()
