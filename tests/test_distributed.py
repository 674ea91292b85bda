import subprocess
import sys
from collections import Counter

import pytest

MODULE = '''
from dataclasses import dataclass
from pathlib import Path

import torch
from seqlight import Batch, SequenceClassifier, SequenceTask


@dataclass(frozen=True)
class Numbered(SequenceTask):
    """Sequences that carry their own number."""

    input_size = 1

    def sample(self, num_samples, rng):
        numbers = torch.arange(num_samples, dtype=torch.float32)
        inputs = numbers[:, None, None].expand(-1, 3, 1)
        return Batch(inputs, (numbers % 2), torch.full((num_samples,), 3))


class Recorder(SequenceClassifier):
    """Writes down which sequences this process has seen."""

    def note(self, stage, batch):
        with Path(f"{stage}-{self.current_epoch}-{self.global_rank}.txt").open("a") as file:
            print(*batch.inputs[:, 0, 0].int().tolist(), file=file)

    def training_step(self, batch, batch_idx):
        self.note("train", batch)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.note("val", batch)
        return super().validation_step(batch, batch_idx)
'''


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over loopback is not set up there")
def test_two_processes_see_every_sample_exactly_once_per_epoch(tmp_path):
    (tmp_path / "numbered.py").write_text(MODULE)
    # 97 = 3 steps of 2 * 16 and a rest of 1, which two processes can't share: it joins the step before.
    sizes = {"train": 97, "val": 45}
    command = [sys.executable, "-m", "seqlight", "fit", "--model=numbered.Recorder", "--data.task=numbered.Numbered"]
    command += [f"--data.num_{split}={size}" for split, size in sizes.items()]
    command += ["--data.batch_size=16", "--trainer.max_epochs=2", "--trainer.strategy=ddp", "--trainer.devices=2"]
    command += ["--device=cpu", "--trainer.enable_progress_bar=false"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    assert "best checkpoint" in result.stdout
    assert result.stdout.count("accuracy") == 1
    for stage, size in sizes.items():
        for epoch in (0, 1):
            seen, steps = Counter(), []
            for rank in (0, 1):
                lines = (tmp_path / f"{stage}-{epoch}-{rank}.txt").read_text().splitlines()
                seen.update(int(number) for line in lines for number in line.split())
                steps.append(len(lines))
            assert seen == Counter(range(size))
            assert steps[0] == steps[1]
