"""Archives of `torch.save`: plain data is read as torch reads it, and everything else is refused."""

import collections
import io
import random
import zipfile

import numpy as np
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


def with_attribute(tensor):
    tensor.note = [1, "a"]
    return tensor


def with_extra():
    value = collections.OrderedDict(a=1)
    value.extra = (1, 2)
    return value


def quantised():
    values = torch.tensor([[0.1, -0.2], [0.3, 3.0]])
    per_channel = torch.quantize_per_channel(values, torch.tensor([0.1, 0.2]), torch.tensor([0, 3]), 0, torch.quint8)
    return [torch.quantize_per_tensor(values, 0.1, 3, torch.qint8), per_channel]


KEYS = [0.5, True, None, 2j, b"x", 2**70, -1, -2, (), (1, "a", (0.5, None)), torch.float16, torch.device("cpu"),
        torch.Size([1])]  # fmt: skip
# What `torch.load(weights_only=True)` allows beyond the values above; each is a function, as some give warnings.
ALLOWED = {
    "sets": lambda: [set(), {1, "a", (1, 2), None, 0.5}],
    "keys": lambda: [dict.fromkeys(KEYS, 1), collections.Counter(dict.fromkeys(KEYS, 2)), {torch.ones(1): 1}],
    "attributes": lambda: [with_extra(), with_attribute(torch.ones(2)), with_attribute(nn.Parameter(torch.ones(2)))],
    "torch's own": lambda: [torch.Size([2, 3]), torch.Size([]), torch.device("cuda:1"), torch.strided,
                            torch.per_tensor_affine],
    "dtypes": lambda: [torch.float32, torch.float8_e4m3fn, torch.uint16, torch.uint7, torch.complex32, torch.qint8],
    "bytes": lambda: [bytearray(b"ab\xff"), bytearray(), bytearray(5000), 1 - 2j, complex("inf"), 2**2000],
    "parameters": lambda: [nn.Parameter(torch.ones(2), requires_grad=False), nn.Buffer(torch.ones(2))],
    "new dtypes": lambda: [torch.zeros(3, dtype=dtype) for dtype in (torch.uint16, torch.uint32, torch.uint64)]
                          + [torch.ones(3).to(dtype) for dtype in (torch.float8_e5m2, torch.float8_e8m0fnu)],
    "complex views": lambda: [torch.tensor([1 + 2j]).conj(), torch.tensor([1 + 2j]).conj().imag],
    "sparse": lambda: [torch.eye(2).to_sparse(), torch.sparse_coo_tensor([[0, 0]], [1.0, 2.0], (3,))],
    "compressed": lambda: [torch.eye(4).to_sparse_csr(), torch.eye(4).to_sparse_csc(),
                           torch.eye(4).to_sparse_bsr((2, 2)), torch.eye(4).to_sparse_bsc((2, 2))],
    "quantised": quantised,
    "no values": lambda: [torch.empty(3, device="meta"), torch.ones(1).expand(5), torch.empty(0, 3)],
    "views": lambda: (lambda whole: [whole, whole[1:], whole.T, whole[0, 0]])(torch.eye(3).to(torch.float8_e5m2)),
    "same list twice": lambda: (lambda part: {"a": part, "b": [part] * 300})(list(range(300))),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning", "ignore:.*quantize:UserWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:TypedStorage is deprecated:UserWarning")
@pytest.mark.parametrize("name", ALLOWED)
def test_what_torch_allows_is_saved_and_read_as_torch_reads_it(name, tmp_path):
    content = saved(ALLOWED[name]())
    expected = saved(torch.load(io.BytesIO(content), weights_only=True))
    assert saved(unpack(content)) == expected  # types, values, and what shares a storage
    part = "MyData" if name == "compressed" else "callbacks"
    SealedCheckpointIO().save_checkpoint({part: {"Mine": ALLOWED[name]()}}, tmp_path / "a.ckpt")
    plainly = torch.load(tmp_path / "a.ckpt", weights_only=True)[part]["Mine"]
    assert saved(plainly) == saved(SealedCheckpointIO().load_checkpoint(tmp_path / "a.ckpt")[part]["Mine"])
    assert saved(plainly) == expected


class OwnTensor(torch.Tensor):
    pass


def in_itself():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (nn.Linear(1, 1), r"it names 'torch\.nn\.modules\.linear\.Linear'"),
        (frozenset([1]), "it names '__builtin__.frozenset'"),
        (collections.defaultdict(list), "it names 'collections.defaultdict'"),
        (np.float64(1), "it names 'numpy._core.multiarray.scalar'"),
        (torch.ones(2).as_subclass(OwnTensor), "OwnTensor'"),
        (torch.FloatStorage, "it holds more than tensors and plain values"),
        (in_itself(), "nested too deeply, or within each other"),
        (torch.ones(1).expand(10**12), "a tensor is larger than its storage"),
    ],
)
def test_other_values_are_refused_when_read_and_when_saved(value, message, tmp_path):
    with pytest.raises(UnsafeError, match=message):
        unpack(saved({"seen": value}))
    checkpoint = {"state_dict": {"a": torch.ones(1)}, "callbacks": {"Mine": {"seen": [1, (2, value)]}}}
    with pytest.raises(CheckpointError, match=message) as error:
        SealedCheckpointIO().save_checkpoint(checkpoint, tmp_path / "a.ckpt")
    assert "checkpoint['callbacks']['Mine']['seen'][1][1]" in str(error.value)
    assert "in the state of the callback 'Mine'" in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("number", range(4))
def test_state_of_a_callback_that_lightning_cannot_restore_is_refused(number, tmp_path):
    """It copies the states of callbacks first, which torch can't do for these tensors."""
    checkpoint = {"callbacks": {"Mine": {"seen": [1, ALLOWED["compressed"]()[number]]}}}
    with pytest.raises(CheckpointError, match=r"checkpoint\['callbacks'\]\['Mine'\]\['seen'\]\[1\] is a torch.Tensor"):
        SealedCheckpointIO().save_checkpoint(checkpoint, tmp_path / "a.ckpt")


def test_values_that_pickle_refuses_are_named_too(tmp_path):
    with pytest.raises(CheckpointError, match=r"checkpoint\['MyData'\]\['make'\] is a function"):
        SealedCheckpointIO().save_checkpoint({"MyData": {"make": lambda: 0}}, tmp_path / "a.ckpt")
    tensor = torch.ones(4)
    twice = {"lr_schedulers": [{"a": tensor, "b": tensor.view(torch.int32)}]}
    with pytest.raises(CheckpointError, match=r"checkpoint\['lr_schedulers'\]\[0\] is a dict.*learning rate scheduler"):
        SealedCheckpointIO().save_checkpoint(twice, tmp_path / "a.ckpt")


def long(number):
    """A pickle's instruction for an integer."""
    return b"\x8a\x0a" + number.to_bytes(10, "little", signed=True)


def dict_of(keys):
    return b"\x80\x02}(" + b"".join(key + b"N" for key in keys) + b"u"


COLLIDING = [long(number * (2**61 - 1)) for number in range(20_000)]  # all of hash 0


@pytest.mark.parametrize(
    "pickle",
    [
        dict_of(COLLIDING) + b".",
        b"\x80\x02ccollections\nOrderedDict\n)R(" + b"".join(key + b"N" for key in COLLIDING) + b"u.",
        b"\x80\x02ccollections\nCounter\n" + dict_of(COLLIDING)[2:] + b"\x85R.",
        b"\x80\x02c__builtin__\nset\n](" + b"".join(COLLIDING) + b"e\x85R.",
        dict_of(key + b"K\x01\x86" for key in COLLIDING) + b".",
        b"\x80\x02]c__builtin__\nset\n](" + b"".join(key + b"\x85\x85" for key in COLLIDING) + b"e\x85Ra.",
    ],
    ids=["dict", "OrderedDict", "Counter", "set", "tuples", "set of tuples in a list"],
)
def test_colliding_keys_are_refused(pickle):
    with pytest.raises(UnsafeError, match="the keys of a dict or set collide"):
        unpack(packed(pickle))


NUMBERS = b"".join(number.to_bytes(2, "little") for number in range(60_000))
LARGE = b"(" + b"K\x01" * 900 + b"tq\x01"  # a tuple that the keys below refer to


@pytest.mark.parametrize(
    "pickle",
    [
        b"\x80\x02}" + LARGE + b"Ns(" + b"h\x01N" * 60_000 + b"u.",
        b"\x80\x02c__builtin__\nset\n](" + LARGE + b"h\x01" * 60_000 + b"e\x85R.",
        b"\x80\x02}"
        + LARGE
        + b"Ns("
        + b"".join(b"h\x01M%b\x86N" % n.to_bytes(2, "little") for n in range(60_000))
        + b"u.",
    ],
    ids=["dict", "set", "pairs"],
)
def test_a_large_key_in_many_places_is_refused(pickle):
    with pytest.raises(UnsafeError, match="collide, or are too large"):
        unpack(packed(pickle))


def test_many_honest_keys_are_read():
    rng = random.Random(0)
    numbers = [rng.getrandbits(80) for _ in range(20_000)]
    value = [set(numbers), dict.fromkeys(range(0, 2**40, 2**26)), collections.Counter(float(n) for n in numbers),
             {(n, -n) for n in numbers}]  # fmt: skip
    assert unpack(saved(value)) == value


def test_nested_tuple_is_refused_before_it_is_hashed():
    # Each level holds the one below twice, as the two items of a dict whose value comes last.
    key = b"K\x01q\0" + b"".join(b"h%c\x86q%c" % (level, level + 1) for level in range(60))
    with pytest.raises(UnsafeError, match="nested too deeply, or within each other"):
        unpack(packed(b"\x80\x02}" + key + b"Ns."))


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
        (b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\xe4\x0bT\x02\x85R.", "a bytearray is not made of bytes"),
        (b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n.", "it holds more than tensors"),
        (b"\x80\x02ctorch._utils\n_rebuild_wrapper_subclass\n.", "_rebuild_wrapper_subclass"),
        (b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\0\0\0itemsNsb.", "it sets attributes"),
        (b"\x80\x02}}X\x01\0\0\0ab.", "it sets attributes"),
        (b"\x80\x02ccollections\nOrderedDict\n)R}X\x09\0\0\0__class__K\x01sb.", "it sets attributes"),
        (b"\x80\x02)K\x01a.", "it appends to a value that is not a list"),
        (b"\x80\x02]K\x01K\x02s.", "it sets items of a value that is not a dict"),
        (b"\x80\x02}]Ns.", "it is damaged, or torch.save did not write it"),
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
        (TENSOR % (b"K\x02", b"K\x01K\x02\x85K\x01\x85"), "a tensor reaches beyond its storage"),
        (TENSOR % (b"K\x02", b"J\xff\xff\xff\xffK\x01\x85K\x01\x85"), "or it is negative"),
    ],
)  # fmt: skip
def test_pickles_that_torch_save_does_not_write_are_refused(pickle, message):
    content = packed(pickle, s=torch.tensor([1.0, 2.0]).numpy().tobytes())
    if message is None:  # the valid pickle that the others differ from
        assert_same(unpack(content), {"t": torch.tensor([1.0, 2.0])})
        return
    with pytest.raises(ArchiveError, match=message):
        unpack(content)
