"""Make harmful checkpoints and try every way to open them; test_hostile.py runs `main` in its own process.

A function that they name, if called, or a module, if imported, would make the file `flag`.
"""

import contextlib
import copy
import hashlib
import http.server
import io
import json
import math
import os
import pickle
import resource
import sys
import threading
import time
import zipfile
from functools import partial
from pathlib import Path
from typing import ClassVar

import msgspec  # noqa: F401 - seqlight imports it late
import torch
from lightning.pytorch import Trainer

import seqlight
from seqlight import GRUCell, SealedCheckpointIO, SequenceClassifier, SequenceFiles, SumSign, SyntheticSequences
from seqlight.cli.main import run

QUIET = (
    "--trainer.enable_progress_bar=false",
    "--device=cpu",
    "--num_threads=1",
    "--output=p.csv",
    "--trainer.max_epochs=3",
)
VERBS = ("fit", "validate", "test", "predict")
MODULE = """
from pathlib import Path

import seqlight

Path("flag").touch()


class Cell(seqlight.GRUCell):
    pass


def make(*args, **kwargs):
    Path("flag").touch()
"""


# 10 ** 9 values if its aliases are followed.
YAML_BOMB = "[&a [1,1,1,1,1,1,1,1,1,1]" + "".join(
    f", &{letter} [{','.join([f'*{before}'] * 10)}]" for letter, before in zip("bcdefghi", "abcdefgh", strict=True)
) + "]"  # fmt: skip


class Payload:
    """Make the flag when a pickle of it is loaded."""

    def __reduce__(self):
        return open, ("flag", "w")


def small_run():
    data = SyntheticSequences(SumSign(max_length=4), num_train=8, num_val=8, num_test=8)
    return SequenceClassifier(partial(GRUCell, hidden_size=2), input_size=1), data


def trainer():
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return Trainer(max_epochs=1, plugins=[SealedCheckpointIO()], enable_checkpointing=False, **quiet)


def with_seal(content):
    return content + b"\nseqlight sha256 " + hashlib.sha256(content).hexdigest().encode() + b"\n"


def saved(value, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return with_seal(buffer.getvalue())


def packed(pickled, entries=()):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", pickled)
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def deflated(megabytes):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        with archive.open("a/data/0", "w") as entry:
            for _ in range(megabytes):
                entry.write(bytes(10**6))
    return buffer.getvalue()


def larger_than_written(content):
    """State sizes of 4 GB in the directory of an archive."""
    changed = bytearray(content)
    place = changed.find(b"PK\x01\x02")
    changed[place + 20 : place + 28] = b"\xf0\xff\xff\xff\xf0\xff\xff\xff"
    return bytes(changed)


def overlapping(content):
    """An archive with a thousand entries for the same megabyte."""
    name = b"a/data/0"
    start = content.find(b"PK\x01\x02", content.find(name))
    end = content.find(b"PK\x05\x06")
    place = content.find(b"PK\x01\x02", start + 1)
    entry = content[place:end]
    directory = content[start:place] + 1000 * entry
    tail = bytearray(content[end:])
    tail[8:12] = 2 * (1001).to_bytes(2, "little")
    tail[12:16] = len(directory).to_bytes(4, "little")
    return content[:start] + directory + bytes(tail)


def changed(good, *path_and_value):
    """A checkpoint with another value at a path of keys, in its description and its hyperparameters."""
    *path, value = path_and_value
    checkpoint = copy.deepcopy(good)
    part = checkpoint
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    checkpoint["hyper_parameters"] = checkpoint["seqlight"]["model"]["init_args"]
    return saved(checkpoint)


def files_data(encoding):
    return {"class_path": "seqlight.SequenceFiles", "init_args": {"train": "none.csv", "encoding": encoding}}


def arguments_of(checkpoint):
    return checkpoint["seqlight"]["model"]["init_args"]


def shared_weights(good):
    """A checkpoint for three hundred layers of a thousand units that all share the weights of one."""
    parts = {"weight_ih": (3000, 1000), "weight_hh": (3000, 1000), "bias_ih": (3000,), "bias_hh": (3000,)}
    values = torch.zeros(3_000_000)
    checkpoint = copy.deepcopy(good)
    arguments_of(checkpoint)["cell"]["init_args"]["hidden_size"] = 1000
    arguments_of(checkpoint)["num_layers"] = 300
    checkpoint["state_dict"] = {"head.weight": values[:1000].view(1, 1000), "head.bias": values[:1]} | {
        f"recurrent.layers.{layer}.cell.{name}": values[: math.prod(size)].view(size)
        for layer in range(300)
        for name, size in (parts | ({} if layer else {"weight_ih": (3000, 1)})).items()
    }
    return checkpoint


def text(size):
    """A pickle's instruction for a string."""
    return b"X" + size.to_bytes(4, "little") + size * b"a"


def numbers(count):
    """A pickle's instructions for a dict."""
    return b"}(" + b"".join(b"J" + number.to_bytes(4, "little") + b"K\x01" for number in range(count)) + b"u"


def many_times(function, second, first):
    """A pickle that calls a function ten thousand times with the same large argument."""
    arguments = b"h\1\x85" if second is None else b"h\1h\2\x86"
    prepared = function + b"q\0" + first + b"q\1" + (second or b"N") + b"q\2"
    return b"\x80\x02" + prepared + b"0" * 3 + b"](" + 10**4 * (b"h\0" + arguments + b"R") + b"e."


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def shared(levels):
    value = [0]
    for _ in range(levels):
        value = [value, value]
    return value


def checkpoints(good):
    """Contents of hostile files by name."""
    model, data = ("seqlight", "model"), ("seqlight", "data")
    arguments, data_arguments = (*model, "init_args"), (*data, "init_args")
    unknown = {"class_path": "hostile_module.Cell", "init_args": {"hidden_size": 2}}
    large_task = {"class_path": "seqlight.ModularArithmetic", "init_args": {"modulus": 2**31 - 3}}
    names = {"target": "binary", "class_names": ["a", "b"]}
    wide = torch.ones(1).expand(10**6, 10**6)
    encoding = {**names, "num_features": 1, "mean": [0.0], "scale": [1.0]}
    cases = {
        "pickle": saved({**good, "epoch": Payload()}),
        "pickle, legacy": saved({**good, "epoch": Payload()}, _use_new_zipfile_serialization=False),
        "pickle, bare": pickle.dumps(Payload()),
        "pickle, in a tensor's place": saved({**good, "state_dict": {"head.bias": Payload()}}),
        "bytearray": with_seal(packed(b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\xe4\x0bT\x02\x85R.")),
        "deep pickle": with_seal(packed(b"\x80\x02" + 100_000 * b"]" + 99_999 * b"a" + b".")),
        "memo": with_seal(packed(b"\x80\x02}r\xff\xff\xff\x7f.")),
        "codec": with_seal(packed(many_times(b"c_codecs\nencode\n", b"X\x06\0\0\0latin1", text(10**5)))),
        "counter": with_seal(packed(many_times(b"ccollections\nCounter\n", None, numbers(10**4)))),
        "deflated": with_seal(deflated(400)),
        "declared": with_seal(larger_than_written(packed(b"\x80\x02}."))),
        "overlapping": with_seal(overlapping(packed(b"\x80\x02}.", [("a/data/0", bytes(10**6))]))),
        "entries": with_seal(packed(b"\x80\x02}.", [(f"a/data/{number}", b"") for number in range(30_000)])),
        "_instantiator": saved({**good, "hyper_parameters": {"_instantiator": "hostile_module.make"}}),
        "_class_path": saved({**good, "hyper_parameters": {"_class_path": "hostile_module.Cell"}}),
        "data's _instantiator": saved(
            {**good, "datamodule_hyper_parameters": {"_instantiator": "hostile_module.make"}}
        ),
        "nested lists": changed(good, *arguments, "dropout", nested(150)),
        "shared lists": changed(good, *arguments, "dropout", shared(60)),
        "YAML in a text": changed(good, *arguments, "residual", YAML_BOMB),
        "deep YAML in a text": changed(good, *arguments, "residual", 100_000 * "["),
        "line break": changed(good, *model, "class_path", "os\nseqlight: all is well.system"),
        "class_path of a number": changed(good, *arguments, "cell", {"class_path": 1}),
        "arguments beside": changed(good, *arguments, "cell", {**arguments_of(good)["cell"], "dict_kwargs": {}}),
        "wide tensor": saved({**good, "state_dict": {**good["state_dict"], "head.weight": wide}}),
        "wide optimizer": saved({**good, "optimizer_states": [{"state": {0: wide}}]}),
        "shared weights": saved({**shared_weights(good), "hyper_parameters": {}}),
        "hidden_size": changed(good, *arguments, "cell", "init_args", "hidden_size", 2**20),
        "largest hidden_size": changed(good, *arguments, "cell", "init_args", "hidden_size", 2**31 - 1),
        "num_layers": changed(good, *arguments, "num_layers", 2**31 - 1),
        "num_outputs": changed(good, *arguments, {**arguments_of(good), "target": "multiclass", "num_outputs": 10**9}),
        "input_size": changed(good, *arguments, "input_size", 10**9),
        "vocabulary": changed(good, *data, files_data({**names, "vocabulary": [f"{n}" for n in range(10**5)]})),
        "features": changed(good, *data, files_data({**encoding, "num_features": 10**9, "mean": None, "scale": None})),
        "task's vocabulary": changed(good, *data_arguments, "task", large_task),
        "mean": changed(good, *data, files_data({**encoding, "mean": [float("nan")]})),
        "scale": changed(good, *data, files_data({**encoding, "scale": [0.0]})),
        "scale's length": changed(good, *data, files_data({**encoding, "scale": [1.0, 1.0]})),
        "scale's type": changed(good, *data, files_data({**encoding, "scale": ["1.0"]})),
        "class_names": changed(good, *data, files_data({**encoding, "class_names": ["a", "b", "c"]})),
        "class_names of the model": changed(good, *data, files_data({**encoding, "target": "multilabel"})),
        "class_names, numbers": changed(good, *data, files_data({**encoding, "class_names": [1, 2]})),
        "encoding, text": changed(good, *data, files_data("hostile_module.Cell")),
        "encoding, class": changed(good, *data, files_data(unknown)),
        "cell, text": changed(good, *arguments, "cell", "hostile_module.Cell"),
        "task, text": changed(good, *data_arguments, "task", "hostile_module.Cell"),
        "model, unknown": changed(good, *model, unknown),
        "data, unknown": changed(good, *data, unknown),
        "deep in data": changed(good, *data_arguments, "batch_size", [{"a": unknown}]),
    }  # fmt: skip
    for name in ("cell", "dropout", "class_weights", "learning_rate", "readout"):
        cases[f"class_path in {name}"] = changed(good, *arguments, name, unknown)
    called = ("os.system", "subprocess.Popen", "builtins.eval", "torch.hub.load", "antigravity.Cell", "torch.nn.GRU")
    for name in called:
        cell = {"class_path": name, "init_args": {"args": "touch flag"}}
        cases[f"cell, {name}"] = changed(good, *arguments, "cell", cell)
    cases["task, os.system"] = changed(good, *data_arguments, "task", {"class_path": "os.system"})
    return cases


BY_EVERY_VERB = (
    "pickle",
    "pickle, legacy",
    "deflated",
    "_instantiator",
    "hidden_size",
    "wide tensor",
    "class_path in cell",
)


def configurations():
    """Paths of hostile configurations by name."""
    texts = {
        "alias bomb": f"model: {YAML_BOMB}",
        "alias bomb in a list": YAML_BOMB,
        "alias bomb in a text": f"model: {{init_args: {{residual: '{YAML_BOMB}'}}}}",
        "endless alias": "model: &a [*a]",
        "tag": "model: !!python/object/apply:os.system ['touch flag']",
        "tag of a module": "model: !!python/module:hostile_module",
        "deep": "model: " + 100_000 * "[",
        "deep blocks": "\n".join(" " * level + "a:" for level in range(1000)),
        "binary": "\x00\x01",
    }
    paths = {}
    for name, text in texts.items():
        paths[name] = f"{name}.yaml"
        Path(paths[name]).write_text(text)
    os.mkfifo("fifo.yaml")
    Path("folder.yaml").mkdir()
    with open("large.yaml", "wb") as file:
        file.truncate(200_000_000)
    return paths | {
        "fifo": "fifo.yaml",
        "folder": "folder.yaml",
        "large": "large.yaml",
        "text itself": texts["alias bomb"].replace("1,", ""),
    }


class Requests(http.server.BaseHTTPRequestHandler):
    """Record requests."""

    paths: ClassVar[list[str]] = []

    def do_GET(self):
        self.paths.append(self.path)
        self.send_error(404)

    def do_HEAD(self):
        self.do_GET()


def megabytes():
    """The peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def attempt(open_it):
    """Open a file; returns the exit status or the name of the exception, the time, and side effects."""
    said = io.StringIO()
    modules, start = set(sys.modules), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            result = open_it()
            result = result if isinstance(result, int) else "opened"
        except Exception as error:
            result = type(error).__name__
            said.write(str(error))
    return {
        "result": result,
        "says": said.getvalue(),
        "seconds": time.process_time() - start,
        "megabytes": megabytes(),
        "modules": sorted(set(sys.modules) - modules),
        "flag": Path("flag").exists(),
    }


def attempts(path, verbs=VERBS):
    """Try every way to open a checkpoint."""
    ways = {verb: partial(run, [verb, f"--ckpt_path={path}", *QUIET]) for verb in verbs}
    ways["load"] = lambda: seqlight.load(path)
    ways["data"] = lambda: SequenceFiles.load_from_checkpoint(path)
    ways["trainer"] = lambda: trainer().fit(*small_run(), ckpt_path=path)
    return {way: attempt(open_it) for way, open_it in ways.items()}


def main(_):
    sys.path.insert(0, os.getcwd())  # so that hostile_module could be imported
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    Path("hostile_module.py").write_text(MODULE)
    trained = trainer()
    trained.fit(*small_run())
    trained.save_checkpoint("good.ckpt")
    good = torch.load("good.ckpt", weights_only=True)
    cases = checkpoints(good)
    # The good one first, so that late imports and their memory do not count.
    results = {"good": attempts("good.ckpt")}
    for number, (name, content) in enumerate(cases.items()):
        Path("hostile.ckpt").write_bytes(content)
        # All verbs read the names in a file with the same code, so one of them is enough.
        verbs = VERBS if name in BY_EVERY_VERB else VERBS[number % 4 :][:1]
        results[name] = attempts("hostile.ckpt", verbs)
    for name, path in configurations().items():
        results[name] = {"configuration": attempt(partial(run, ["fit", f"--config={path}", *QUIET]))}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Requests) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        results["URL"] = attempts(f"http://127.0.0.1:{server.server_port}/good.ckpt")
        server.shutdown()
    results["requests"] = Requests.paths
    Path("results.json").write_text(json.dumps(results))
    return 0
