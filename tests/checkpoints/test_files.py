"""Checkpoint files: as torch reads them, damaged ones, and what is no plain data."""

import collections
import hashlib
import io
import random
import zipfile
from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

import seqlight
from seqlight import CheckpointError, GRUCell, SealedCheckpointIO, SequenceClassifier, SumSign, SyntheticSequences
from seqlight.checkpoints.archive import ArchiveError, UnsafeError, unpack
from seqlight.checkpoints.files import read_plain
from seqlight.common.errors import DamagedCheckpointError
from tests.conftest import seqlight_run


def fit(folder, *plugins):
    """A small checkpoint of a whole Trainer."""
    data = SyntheticSequences(SumSign(max_length=4), num_train=8, num_val=8)
    model = SequenceClassifier(partial(GRUCell, hidden_size=2), input_size=1)
    options = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "logger": False}
    trainer = Trainer(max_epochs=1, default_root_dir=folder, plugins=list(plugins), **options)
    trainer.fit(model, data)
    path = folder / "whole.ckpt"
    trainer.save_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("sealed"), SealedCheckpointIO())


def assert_same(value, expected):
    assert type(value) is type(expected)
    if isinstance(expected, dict):
        assert list(value) == list(expected)
        for key, part in expected.items():
            assert_same(value[key], part)
        assert_same(getattr(value, "_metadata", None), getattr(expected, "_metadata", None))
    elif isinstance(expected, list | tuple):
        assert len(value) == len(expected)
        for part, other in zip(value, expected, strict=True):
            assert_same(part, other)
    elif isinstance(expected, torch.Tensor):
        assert (value.dtype, value.stride(), value.requires_grad) == (
            expected.dtype,
            expected.stride(),
            expected.requires_grad,
        )
        assert torch.equal(value, expected)
    else:
        assert value == expected


def test_a_sealed_checkpoint_is_read_as_torch_reads_it(sealed):
    assert_same(read_plain(sealed), torch.load(sealed, weights_only=True))


def test_the_seal_is_the_sha_256_of_all_before_it(sealed):
    content, _, seal = sealed.read_bytes().rpartition(b"\nseqlight sha256 ")
    assert seal.decode() == hashlib.sha256(content).hexdigest() + "\n"


def test_a_file_of_a_plain_trainer_can_be_loaded(tmp_path):
    path = fit(tmp_path)
    assert b"sha256" not in path.read_bytes()
    expected = torch.load(path, weights_only=True)
    assert_same(read_plain(path), expected)
    assert_same(dict(seqlight.load(path).state_dict()), dict(expected["state_dict"]))


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def tied():
    tensor = torch.arange(6.0)
    return {"whole": tensor, "part": tensor[2:4], "turned": tensor.view(2, 3).T}


@pytest.mark.parametrize(
    "value",
    [
        {"numbers": [1, -1, 300, 2**70, -(2**40), 0.1, float("inf"), True, False, None], "text": "ä\n\ud800", "": ()},
        {"bytes": b"\x00\xff", "tuples": [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]},
        {"counts": collections.Counter({3: 2, 5: 1}), "ordered": collections.OrderedDict(b=1, a=2)},
        {str(dtype): torch.tensor([1, 0]).to(dtype) for dtype in (
            torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int16, torch.int32, torch.bool,
            torch.complex64, torch.complex128,
        )},
        {"scalar": torch.tensor(1.5), "empty": torch.zeros(0, 3), "parameter": nn.Parameter(torch.ones(2))},
        {"grad": torch.ones(2, requires_grad=True)},
        nn.BatchNorm1d(3).state_dict(),
        tied(),
    ],
    ids=["values", "tuples", "mappings", "dtypes", "tensors", "requires_grad", "state_dict", "tied"],
)  # fmt: skip
def test_plain_data_are_read_as_torch_reads_them(value):
    content = saved(value)
    assert_same(unpack(content), torch.load(io.BytesIO(content), weights_only=True))


def test_parts_of_one_storage_share_it_again():
    value = unpack(saved(tied()))
    value["whole"][2] = 9
    assert value["part"][0] == value["turned"][2, 0] == 9


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"module": nn.Linear(1, 1)}, r"it names 'torch\.nn\.modules\.linear\.Linear'"),
        ({"size": torch.Size([1])}, r"it names 'torch\.Size'"),
        ({"set": {1}}, r"it names '__builtin__\.set'"),
        ({"array": bytearray(3)}, r"it names '__builtin__\.bytearray'"),
        ({"sparse": torch.eye(2).to_sparse()}, r"it names 'torch\._utils\._rebuild_sparse_tensor'"),
        ({"dtype": torch.float32}, r"it names 'torch\.float32'"),
        ({"storage": torch.FloatStorage}, "it holds a value that is not a tensor or plain value"),
        ({"halves": {0.5: 1}}, "keys of a dict must be strings or integers"),
        ({"wide": torch.ones(1).expand(10**12)}, "a tensor is larger than its storage"),
    ],
)
def test_other_values_are_refused_when_read_and_when_the_first_is_to_be_written(value, message, tmp_path):
    with pytest.raises(UnsafeError, match=message):
        unpack(saved(value))
    with pytest.raises(CheckpointError, match=f"could not be read back: {message}"):
        SealedCheckpointIO().save_checkpoint(value, tmp_path / "a.ckpt")
    assert list(tmp_path.iterdir()) == []


def packed(pickle, **storages):
    """A file as `torch.save` makes it, of a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", pickle)
        for name, content in storages.items():
            archive.writestr(f"a/data/{name}", content)
    return buffer.getvalue()


STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0sX\x03\0\0\0cpu%bt"
TENSOR = b"\x80\x02}X\x01\0\0\0tctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"Q%b\x89}tRs."


@pytest.mark.parametrize(
    ("pickle", "message"),
    [
        (b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.", r"it names 'os\.system'"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.", "has no SHORT_BINUNICODE"),
        (b"cos\nsystem\n(S'true'\ntR.", r"it names 'os\.system'"),
        (b"(S'true'\nios\nsystem\n.", "has no STRING"),
        (b"\x80\x02\x82\x01.", "has no EXT1"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "it calls a value that is not a function"),
        (b"\x80\x02X\x01\0\0\0f)R.", "it calls a value that is not a function"),
        (b"\x80\x02c_codecs\nencode\nX\x01\0\0\0xX\x04\0\0\0idna\x86R.", "it uses a codec"),
        (b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\xe4\x0bT\x02\x85R.", r"it names '__builtin__\.bytearray'"),
        (b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n.", "_rebuild_from_type_v2"),
        (b"\x80\x02}}X\x01\0\0\0ab.", "it sets attributes"),
        (b"\x80\x02ccollections\nOrderedDict\n)R}X\x09\0\0\0__class__K\x01sb.", "it sets attributes"),
        (b"\x80\x02)K\x01a.", "it appends to a value that is not a list"),
        (b"\x80\x02]K\x01K\x02s.", "it sets items of a value that is not a dict"),
        (b"\x80\x02}" + b"\x8a\x09" + (2**61 - 1).to_bytes(9, "little") + b"Ns.", "keys of a dict"),
        (b"\x80\x02]q\0h\0a.", "nested without end"),
        (b"\x80\x02" + 200 * b"]" + 199 * b"a" + b".", "nested without end"),
        (b"\x80\x02(]q\0" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(60)) + b"t.", "nested without end"),
        (b"\x80\x02]", "it is damaged or not a checkpoint"),
        (b"\x80\x02}a.", "it is damaged or not a checkpoint"),
        (b"\x80\x02h\x07.", "it is damaged or not a checkpoint"),
        (b"", "it is damaged or not a checkpoint"),
        (TENSOR % (b"K\x02", b"K\0K\x02\x85K\x01\x85"), None),
        (TENSOR % (b"K\x03", b"K\0K\x02\x85K\x01\x85"), "a storage does not have its stated size"),
        (TENSOR % (b"J\xff\xff\xff\x7f", b"K\0K\x02\x85K\x01\x85"), "a storage does not have its stated size"),
        (TENSOR % (b"K\x02", b"K\0J\0\0\0\x7f\x85K\0\x85"), "a tensor is larger than its storage"),
        (TENSOR % (b"K\x02", b"K\x01K\x02\x85K\x01\x85"), "it is damaged or not a checkpoint"),
        (TENSOR % (b"K\x02", b"J\xff\xff\xff\xffK\x01\x85K\x01\x85"), "it is damaged or not a checkpoint"),
    ],
)  # fmt: skip
def test_pickles_that_torch_save_does_not_write(pickle, message):
    content = packed(pickle, s=torch.tensor([1.0, 2.0]).numpy().tobytes())
    if message is None:  # the harmless one that the others differ from
        assert_same(unpack(content), {"t": torch.tensor([1.0, 2.0])})
        return
    with pytest.raises(ArchiveError, match=message):
        unpack(content)


class Harmful:
    def __reduce__(self):
        return print, ("harm",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_a_function_is_refused_and_nothing_is_called(zipped, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"state_dict": Harmful()}, tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="is not a checkpoint of seqlight"):
        read_plain(tmp_path / "a.ckpt")
    assert capsys.readouterr() == ("", "")
    torch.load(tmp_path / "a.ckpt", weights_only=False)
    assert capsys.readouterr().out == "harm\n"


def offsets(size):
    seal = size - 82
    return [0, 1, 1000, size // 2, seal - 1, seal, seal + 1, seal + 40, size - 1]


@pytest.mark.parametrize("place", range(9))
def test_truncated_checkpoints(place, sealed, tmp_path):
    content = sealed.read_bytes()
    damaged = tmp_path / "cut.ckpt"
    damaged.write_bytes(content[: offsets(len(content))[place]])
    with pytest.raises(CheckpointError):
        seqlight.load(damaged)
    with pytest.raises(CheckpointError):
        SyntheticSequences.load_from_checkpoint(damaged)
    verb = ("fit", "validate", "test", "predict")[place % 4]
    status, _, err = seqlight_run(verb, f"--ckpt_path={damaged}")
    assert (status, len(err.splitlines())) == (3, 1)


def test_flipped_bits(sealed, tmp_path):
    content = sealed.read_bytes()
    seqlight.load(sealed)
    rng = random.Random(0)
    # Of the whole file, and all bits of the seal's first and last byte.
    bits = rng.sample(range(8 * len(content)), 200)
    bits += [8 * (len(content) - 82) + bit for bit in range(8)] + [8 * (len(content) - 1) + bit for bit in range(8)]
    damaged = tmp_path / "flipped.ckpt"
    for number, bit in enumerate(bits):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        damaged.write_bytes(changed)
        with pytest.raises(DamagedCheckpointError, match="damaged"):
            read_plain(damaged)
        if number % 50 == 0:
            status, _, err = seqlight_run(
                ("fit", "validate", "test", "predict")[number // 50 % 4], f"--ckpt_path={damaged}"
            )
            assert status == 3
            assert "damaged" in err


def test_flipped_bits_of_values_without_a_seal(tmp_path):
    path = fit(tmp_path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        places = [entry.header_offset + 64 for entry in archive.infolist() if entry.file_size > 64]
    for place in places:
        changed = bytearray(content)
        # Past the header, whose padding says nothing.
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


def test_a_path_that_leads_elsewhere_is_not_removed(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "precious").write_text("")
    (tmp_path / "checkpoints" / "old.ckpt").write_text("")
    plugin = SealedCheckpointIO()
    plugin.remove_checkpoint(tmp_path / "checkpoints" / ".." / "precious")
    plugin.remove_checkpoint(tmp_path / "checkpoints" / "old.ckpt")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["precious"]
    assert list((tmp_path / "checkpoints").iterdir()) == []
