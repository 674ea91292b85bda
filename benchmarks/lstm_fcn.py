"""Train sktime's LSTMFCNClassifierTorch at its defaults on a data set; print its test accuracy and seconds of `fit`.

`archive.py --against lstm_fcn` runs this in an environment with sktime 1.2. The seconds are those of a processor.
"""

import argparse
import time
import warnings
from pathlib import Path

import torch
from sktime.classification.deep_learning.lstmfcn import LSTMFCNClassifierTorch
from sktime.datasets import load_from_tsfile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of the data set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=2000)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    inputs, labels = {}, {}
    for split in ("TRAIN", "TEST"):
        path = arguments.folder / f"{arguments.folder.name}_{split}.ts"
        inputs[split], labels[split] = load_from_tsfile(str(path), return_data_type="numpy3d")
    start = time.process_time()
    model = LSTMFCNClassifierTorch(num_epochs=arguments.epochs, random_state=arguments.seed)
    model.fit(inputs["TRAIN"], labels["TRAIN"])
    seconds = time.process_time() - start
    accuracy = (model.predict(inputs["TEST"]) == labels["TEST"]).mean()
    print(f"{accuracy:.4f} {seconds:.1f}")


if __name__ == "__main__":
    main()
