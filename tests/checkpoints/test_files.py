"""Checkpoint files: read as torch reads them, and refused if damaged or unsafe."""

import hashlib
import random
import zipfile
from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer

import seqlight
from seqlight import CheckpointError, GRUCell, SealedCheckpointIO, SequenceClassifier, SumSign, SyntheticSequences
from seqlight.checkpoints.files import read_plain
from seqlight.common.errors import DamagedCheckpointError
from tests.conftest import seqlight_run
from tests.plain_data import assert_same

COMMANDS = ("fit", "validate", "test", "predict")


def fit(folder, *plugins):
    """Train a small model; returns the path of its checkpoint."""
    data = SyntheticSequences(SumSign(max_length=4), num_train=8, num_val=8)
    model = SequenceClassifier(partial(GRUCell, hidden_size=2), input_size=1)
    options = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "logger": False}
    trainer = Trainer(max_epochs=1, default_root_dir=folder, plugins=list(plugins), **options)
    trainer.fit(model, data)
    path = folder / "fitted.ckpt"
    trainer.save_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("sealed"), SealedCheckpointIO())


def test_sealed_checkpoint_is_read_as_torch_reads_it(sealed):
    assert_same(read_plain(sealed), torch.load(sealed, weights_only=True))


def test_seal_is_the_sha256_of_the_archive(sealed):
    content, _, seal = sealed.read_bytes().rpartition(b"\nseqlight sha256 ")
    assert seal.decode() == hashlib.sha256(content).hexdigest() + "\n"


def test_file_of_a_trainer_without_the_plugin_is_loaded(tmp_path):
    path = fit(tmp_path)
    assert b"sha256" not in path.read_bytes()
    expected = torch.load(path, weights_only=True)
    assert_same(read_plain(path), expected)
    assert_same(dict(seqlight.load(path).state_dict()), dict(expected["state_dict"]))


class Harmful:
    def __reduce__(self):
        return print, ("harm",)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_with_a_function_is_refused_and_calls_nothing(zipped, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"state_dict": Harmful()}, tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="is not a seqlight checkpoint"):
        read_plain(tmp_path / "a.ckpt")
    assert capsys.readouterr() == ("", "")
    torch.load(tmp_path / "a.ckpt", weights_only=False)
    assert capsys.readouterr().out == "harm\n"


def offsets(size):
    seal = size - 82
    return [0, 1, 1000, size // 2, seal - 1, seal, seal + 1, seal + 40, size - 1]


@pytest.mark.parametrize("place", range(9))
def test_truncated_checkpoint_is_refused(place, sealed, tmp_path):
    content = sealed.read_bytes()
    damaged = tmp_path / "cut.ckpt"
    damaged.write_bytes(content[: offsets(len(content))[place]])
    with pytest.raises(CheckpointError):
        seqlight.load(damaged)
    with pytest.raises(CheckpointError):
        SyntheticSequences.load_from_checkpoint(damaged)
    status, _, err = seqlight_run(COMMANDS[place % 4], f"--ckpt_path={damaged}")
    assert (status, len(err.splitlines())) == (3, 1)


def test_flipped_bits_are_detected(sealed, tmp_path):
    content = sealed.read_bytes()
    seqlight.load(sealed)
    rng = random.Random(0)
    # Bits of the whole file, and all bits of the seal's first and last byte.
    bits = rng.sample(range(8 * len(content)), 200)
    bits += [8 * (len(content) - 82) + bit for bit in range(8)] + [8 * (len(content) - 1) + bit for bit in range(8)]
    damaged = tmp_path / "flipped.ckpt"
    for number, bit in enumerate(bits):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        damaged.write_bytes(changed)
        with pytest.raises(DamagedCheckpointError, match="is damaged"):
            read_plain(damaged)
        if number % 50 == 0:
            status, _, err = seqlight_run(COMMANDS[number // 50 % 4], f"--ckpt_path={damaged}")
            assert status == 3
            assert "is damaged" in err


def test_flipped_bits_of_values_are_detected_without_a_seal(tmp_path):
    path = fit(tmp_path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        places = [entry.header_offset + 64 for entry in archive.infolist() if entry.file_size > 64]
    for place in places:
        changed = bytearray(content)
        # After the header; its padding is not checked.
        start = (
            place
            + changed[place - 38]
            + 256 * changed[place - 37]
            + changed[place - 36]
            + 256 * changed[place - 35]
            - 34
        )
        changed[start] ^= 4
        path.write_bytes(changed)
        with pytest.raises(DamagedCheckpointError):
            read_plain(path)


def test_path_that_leads_elsewhere_is_not_removed(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "precious").write_text("")
    (tmp_path / "checkpoints" / "old.ckpt").write_text("")
    plugin = SealedCheckpointIO()
    plugin.remove_checkpoint(tmp_path / "checkpoints" / ".." / "precious")
    plugin.remove_checkpoint(tmp_path / "checkpoints" / "old.ckpt")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["precious"]
    assert list((tmp_path / "checkpoints").iterdir()) == []
