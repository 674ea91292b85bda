import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from seqlight.data.reading import progress
from seqlight.data.reading.read import read_sequences


def test_libraries_are_imported_only_for_a_file():
    libraries = "{'pyarrow', 'msgspec', 'psutil', 'tqdm', 'torch'}"
    code = f"import sys, seqlight.data.reading.read; print({libraries} & {{*sys.modules}})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def text_of(suffix):
    return {
        ".csv": "id,label,x,z\na,u,1,2\na,u,3,4\nb,v,5,6\n",
        ".jsonl": '{"inputs": [[1, 2], [3, 4]], "label": "u"}\n{"inputs": [[5, 6]], "label": "v"}\n',
        ".ts": "@classLabel true u v\n@data\n1,3:2,4:u\n5:6:v\n",
    }[suffix]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".ts"])
@pytest.mark.parametrize("as_path", [str, lambda path: path])
def test_formats_give_the_same_sequences(tmp_path, suffix, as_path):
    path = tmp_path / f"a{suffix.upper()}"
    path.write_text(text_of(suffix))
    raw = read_sequences(as_path(path))
    np.testing.assert_array_equal(raw.values, [[1, 2], [3, 4], [5, 6]])
    assert (raw.lengths.tolist(), raw.labels, raw.tokens, raw.label_names) == ([2, 1], ["u", "v"], None, None)


def table(path):
    frame = pd.DataFrame({"id": np.arange(3000) // 3, "label": 1, "x": 0.5, "z": 1.5})
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ".npz", ".ts"])
def test_progress_bar_on_a_terminal(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix in (".csv", ".parquet"):
        table(path)
    elif suffix == ".npz":
        np.savez(path, inputs=np.ones((5, 4, 2)), targets=np.ones(5))
    else:
        path.write_text(text_of(suffix))
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    read_sequences(path)
    assert terminal.getvalue() == ""  # too fast for a bar
    bars = []

    class Bar(progress.tqdm):
        def close(self):
            if self not in bars:
                bars.append(self)
            super().close()

    monkeypatch.setattr(progress, "tqdm", Bar)
    monkeypatch.setattr(progress, "_DELAY", 0)
    read_sequences(path)
    assert f"reading a{suffix}:   0%" in terminal.getvalue()
    assert (
        [bar.n for bar in bars]
        == [bar.total for bar in bars]
        == [{".parquet": 3000, ".npz": 5}.get(suffix, path.stat().st_size)]
    )


def test_no_progress_bar_without_a_terminal(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(progress, "_DELAY", 0)
    (tmp_path / "a.csv").write_text(text_of(".csv"))
    read_sequences(tmp_path / "a.csv")
    assert capfd.readouterr() == ("", "")
