"""Memory and time to load users' files and train on them.

For each format, a separate process makes `SequenceFiles` from a file, takes a fifth for validation, and trains for some
steps. Its peak memory, less its memory after the imports, is divided by the size of all values in float32. With
`--rounds`, training with `in_memory=False` is compared with training in memory, in alternating runs: the peak of memory
that no file backs, which the system can't take back, and sequences per second as a ratio. Linux only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import numpy as np

NUM_FEATURES = 8
FORMATS = (".csv", ".parquet", ".jsonl", ".npz", ".ts")


def write(path: Path, num_sequences: int, num_steps: int) -> None:
    import pyarrow as pa
    from pyarrow import csv, parquet

    rng = np.random.default_rng(0)
    values = rng.standard_normal((num_sequences, num_steps, NUM_FEATURES), dtype=np.float32)
    labels = np.arange(num_sequences) % 2
    if path.suffix == ".npz":
        np.savez(path, inputs=values, targets=labels)
    elif path.suffix == ".jsonl":
        with path.open("w") as file:
            for sequence, label in zip(values.round(4).tolist(), labels.tolist(), strict=True):
                rounded = [[round(value, 4) for value in step] for step in sequence]
                print(json.dumps({"inputs": rounded, "label": label}), file=file)
    elif path.suffix == ".ts":
        with path.open("w") as file:
            print("@classLabel true 0 1\n@data", file=file)
            for sequence, label in zip(values, labels.tolist(), strict=True):
                dimensions = (",".join(f"{value:.4f}" for value in dimension) for dimension in sequence.T.tolist())
                print(":".join(dimensions), label, sep=":", file=file)
    else:
        columns = {
            "id": np.repeat(np.arange(num_sequences), num_steps),
            "step": np.tile(np.arange(num_steps), num_sequences),
            **{f"x{feature}": values[..., feature].reshape(-1).round(4) for feature in range(NUM_FEATURES)},
            "label": np.repeat(labels, num_steps),
        }
        table = pa.table(columns)
        csv.write_csv(table, path) if path.suffix == ".csv" else parquet.write_table(table, path)


class AnonymousPeak(threading.Thread):
    """Samples the memory that no file backs; `peak` is its largest size in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0

    def run(self) -> None:
        while True:
            self.peak = max(self.peak, memory("RssAnon"))
            time.sleep(0.002)


def load_and_train(path: str, num_steps: int, in_memory: bool) -> None:
    """Print the seconds of loading and training, and peak memory after each; runs in its own process."""
    import lightning.pytorch as pl
    import pyarrow
    import torch

    from seqlight import ElmanCell, SequenceClassifier, SequenceFiles

    torch.set_num_threads(1)
    pyarrow.set_cpu_count(1)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, anonymous_before = memory("VmRSS"), memory("RssAnon")
    anonymous = AnonymousPeak()
    anonymous.start()
    start = time.perf_counter()
    data = SequenceFiles(path, in_memory=in_memory)
    seconds = time.perf_counter() - start
    loaded = memory("VmHWM") - before
    model = SequenceClassifier(ElmanCell, input_size=data.input_size)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", max_steps=num_steps, limit_val_batches=10, **quiet)
    start = time.perf_counter()
    trainer.fit(model, data)
    rate = num_steps * data.batch_size / (time.perf_counter() - start)
    peaks = {"loaded": loaded, "trained": memory("VmHWM") - before, "anonymous": anonymous.peak - anonymous_before}
    print(json.dumps({"seconds": seconds, "rate": rate, **peaks}))


def memory(name: str) -> int:
    """An entry of /proc/self/status, in bytes."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) * 1024


def measured(path: Path, *, in_memory: bool) -> dict[str, float]:
    """The measures of `load_and_train`, in a process of its own."""
    command = [sys.executable, __file__, "--child", str(path), str(in_memory)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(arguments: argparse.Namespace) -> None:
    """Print a row for each format: time steps in a file compared with those in memory."""
    size = 4 * arguments.sequences * arguments.steps * NUM_FEATURES
    print(f"{arguments.sequences} sequences of {arguments.steps} steps by {NUM_FEATURES}: {size / 1e6:.0f} MB")
    columns = {"peak in memory": 16, "in a file": 11, "loading": 10, "training": 10}
    print(f"{'format':10}" + "".join(f"{name:>{width}}" for name, width in columns.items()))
    for suffix in arguments.formats:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"data{suffix}"
            write(path, arguments.sequences, arguments.steps)
            pairs = [[measured(path, in_memory=each) for each in (True, False)] for _ in range(arguments.rounds)]
        here, there = (median(pair[each]["anonymous"] for pair in pairs) / size for each in (0, 1))
        loading = median(other["seconds"] / one["seconds"] for one, other in pairs)
        training = median(other["rate"] / one["rate"] for one, other in pairs)
        print(f"{suffix:10}{here:16.2f}{there:11.2f}{loading:10.2f}{training:10.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=100, help="time steps of each sequence")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    parser.add_argument("--rounds", type=int, default=0, help="alternating runs in memory and with `in_memory=False`")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        path, in_memory = arguments.child
        load_and_train(path, num_steps=200, in_memory=in_memory == "True")
        return
    if arguments.rounds:
        compare(arguments)
        return
    num_values = arguments.sequences * arguments.steps * NUM_FEATURES
    print(
        f"{arguments.sequences} sequences of {arguments.steps} steps by {NUM_FEATURES}: {4 * num_values / 1e6:.0f} MB"
    )
    print(f"{'format':10}{'file, MB':>10}{'s':>8}{'M values/s':>12}{'peak loaded':>13}{'trained':>9}  (<= 2)")
    for suffix in arguments.formats:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"data{suffix}"
            write(path, arguments.sequences, arguments.steps)
            got = measured(path, in_memory=True)
            peaks = [got[name] / (4 * num_values) for name in ("loaded", "trained")]
            rate = num_values / got["seconds"] / 1e6
            size = path.stat().st_size / 1e6
            print(
                f"{suffix:10}{size:10.0f}{got['seconds']:8.1f}{rate:12.1f}{peaks[0]:13.2f}{peaks[1]:9.2f}", flush=True
            )


if __name__ == "__main__":
    main()
