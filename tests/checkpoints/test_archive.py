"""Archives of `torch.save`: plain data is read as torch reads it, and everything else is refused."""

import collections
import io
import zipfile

import pytest
import torch
from torch import nn

from seqlight import CheckpointError, SealedCheckpointIO
from seqlight.checkpoints.archive import ArchiveError, UnsafeError, unpack
from tests.plain_data import assert_same


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


def test_tensors_that_shared_a_storage_share_it_again():
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
        ({"storage": torch.FloatStorage}, "it holds more than tensors and plain values"),
        ({"halves": {0.5: 1}}, "keys of a dict must be strings or integers"),
        ({"wide": torch.ones(1).expand(10**12)}, "a tensor is larger than its storage"),
    ],
)
def test_other_values_are_refused_when_read_and_when_saved(value, message, tmp_path):
    with pytest.raises(UnsafeError, match=message):
        unpack(saved(value))
    with pytest.raises(CheckpointError, match=f"could not be read again: {message}"):
        SealedCheckpointIO().save_checkpoint(value, tmp_path / "a.ckpt")
    assert list(tmp_path.iterdir()) == []


def packed(pickle, **storages):
    """A file like those of `torch.save`, with this pickle and these storages."""
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
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.", "unexpected instruction SHORT_BINUNICODE"),
        (b"cos\nsystem\n(S'true'\ntR.", r"it names 'os\.system'"),
        (b"(S'true'\nios\nsystem\n.", "unexpected instruction STRING"),
        (b"\x80\x02\x82\x01.", "unexpected instruction EXT1"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "it calls a value that is not a function"),
        (b"\x80\x02X\x01\0\0\0f)R.", "it calls a value that is not a function"),
        (b"\x80\x02c_codecs\nencode\nX\x01\0\0\0xX\x04\0\0\0idna\x86R.", "it names a codec"),
        (b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\xe4\x0bT\x02\x85R.", r"it names '__builtin__\.bytearray'"),
        (b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n.", "_rebuild_from_type_v2"),
        (b"\x80\x02}}X\x01\0\0\0ab.", "it sets attributes"),
        (b"\x80\x02ccollections\nOrderedDict\n)R}X\x09\0\0\0__class__K\x01sb.", "it sets attributes"),
        (b"\x80\x02)K\x01a.", "it appends to a value that is not a list"),
        (b"\x80\x02]K\x01K\x02s.", "it sets items of a value that is not a dict"),
        (b"\x80\x02}" + b"\x8a\x09" + (2**61 - 1).to_bytes(9, "little") + b"Ns.", "keys of a dict"),
        (b"\x80\x02]q\0h\0a.", "nested too deeply"),
        (b"\x80\x02" + 200 * b"]" + 199 * b"a" + b".", "nested too deeply"),
        (b"\x80\x02(]q\0" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(60)) + b"t.", "nested too deeply"),
        (b"\x80\x02]", "it is damaged, or torch.save did not write it"),
        (b"\x80\x02}a.", "it is damaged, or torch.save did not write it"),
        (b"\x80\x02h\x07.", "it is damaged, or torch.save did not write it"),
        (b"", "it is damaged, or torch.save did not write it"),
        (TENSOR % (b"K\x02", b"K\0K\x02\x85K\x01\x85"), None),
        (TENSOR % (b"K\x03", b"K\0K\x02\x85K\x01\x85"), "a storage does not have the stated type and size"),
        (TENSOR % (b"J\xff\xff\xff\x7f", b"K\0K\x02\x85K\x01\x85"), "a storage does not have the stated type and size"),
        (TENSOR % (b"K\x02", b"K\0J\0\0\0\x7f\x85K\0\x85"), "a tensor is larger than its storage"),
        (TENSOR % (b"K\x02", b"K\x01K\x02\x85K\x01\x85"), "it is damaged, or torch.save did not write it"),
        (TENSOR % (b"K\x02", b"J\xff\xff\xff\xffK\x01\x85K\x01\x85"), "it is damaged, or torch.save did not write it"),
    ],
)  # fmt: skip
def test_pickles_that_torch_save_does_not_write_are_refused(pickle, message):
    content = packed(pickle, s=torch.tensor([1.0, 2.0]).numpy().tobytes())
    if message is None:  # the valid pickle that the others differ from
        assert_same(unpack(content), {"t": torch.tensor([1.0, 2.0])})
        return
    with pytest.raises(ArchiveError, match=message):
        unpack(content)
