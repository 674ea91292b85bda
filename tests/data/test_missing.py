"""Missing values: filled, and said in channels, as pandas and scikit-learn compute them."""

import json

import numpy as np
import pandas as pd
import polars
import pytest
import torch
from sklearn.preprocessing import StandardScaler

import seqlight
from seqlight import SequenceArrays, SequenceFiles, SequenceFrames
from seqlight.data.reading.raw import DataError

NUM_SEQUENCES = 12


def frame_of(seed=0, share=0.3):
    """Sequences of 5 to 8 steps of two features far from 0; `x` has missing values, also at the start, `y` has none."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 9, NUM_SEQUENCES)
    frame = pd.DataFrame({"id": np.repeat([f"s{n}" for n in range(NUM_SEQUENCES)], lengths)})
    frame["t"] = frame.groupby("id", sort=False).cumcount()
    frame["x"] = (1e3 + rng.normal(0, 2, len(frame))).round(3)
    frame["y"] = rng.normal(5, 3, len(frame)).round(3)
    missing = (rng.random(len(frame)) < share) & (frame.t < frame.groupby("id").t.transform("max"))
    frame.loc[missing | (frame.id.isin(["s1", "s2"]) & (frame.t == 0)), "x"] = np.nan
    frame["label"] = np.where(frame.id.str[1:].astype(int) % 2, "up", "down")
    return frame


def expected(frame, train=None):
    """Features and channels by pandas and scikit-learn."""
    train = frame if train is None else train
    scaler = StandardScaler().fit(train[["x", "y"]].to_numpy())
    filled = frame.groupby("id", sort=False)[["x", "y"]].ffill().fillna(dict(zip("xy", scaler.mean_, strict=True)))
    since, of_train = (
        each.t - each.t.where(each.x.notna()).groupby(each.id, sort=False).ffill().fillna(0) for each in (frame, train)
    )
    columns = [*scaler.transform(filled.to_numpy()).T, frame.x.notna(), since / of_train.std(ddof=0)]
    return np.stack([np.asarray(column, float) for column in columns], 1)


def sequences_of(frame):
    return [rows[["x", "y"]].to_numpy() for _, rows in frame.groupby("id", sort=False)]


def labels_of(frame):
    return frame.groupby("id", sort=False).label.first().to_list()


def padded(frame):
    lengths = frame.groupby("id", sort=False).size().to_numpy()
    inputs = np.zeros((len(lengths), lengths.max(), 2))
    for row, sequence in enumerate(sequences_of(frame)):
        inputs[row, : len(sequence)] = sequence
    return inputs, lengths


def write_jsonl(frame, path, null=None):
    with open(path, "w") as file:
        for sequence, label in zip(sequences_of(frame), labels_of(frame), strict=True):
            steps = [[null if np.isnan(value) else value for value in step] for step in sequence]
            print(json.dumps({"inputs": steps, "label": label}), file=file)


def write_npz(frame, path):
    inputs, lengths = padded(frame)
    np.savez(path, inputs=inputs, lengths=lengths, targets=labels_of(frame))


def write_ts(frame, path, marker="?"):
    lines = ["@problemName a", "@classLabel true up down", "@data"]
    for sequence, label in zip(sequences_of(frame), labels_of(frame), strict=True):
        texts = [",".join(marker if np.isnan(value) else str(value) for value in column) for column in sequence.T]
        lines.append(":".join([*texts, label]))
    path.write_text("\n".join(lines))


def write_wide(frame, path):
    cells = frame.pivot(index="id", columns="t", values=["x", "y"])
    cells.columns = [f"{feature}_{step}" for feature, step in cells.columns]
    cells["label"] = frame.groupby("id").label.first()
    cells.loc[frame.id.unique()].reset_index().to_csv(path, index=False)


def write_folder(frame, path):
    for (name, label), rows in frame.groupby(["id", "label"], sort=False):
        (path / label).mkdir(parents=True, exist_ok=True)
        rows[["x", "y"]].to_csv(path / label / f"{name}.csv", index=False)


def write_arrays(frame, path):
    path.mkdir()
    for name, rows in frame.groupby("id", sort=False):
        np.save(path / f"{name}.npy", rows[["x", "y"]].to_numpy())
    frame.drop_duplicates("id")[["id", "label"]].set_axis(["file", "label"], axis=1).to_csv(path / "labels.csv")


FORMATS = {
    "csv": lambda frame, path: frame.to_csv(path, index=False),
    "csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    "tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t", na_rep="NA"),
    "parquet": lambda frame, path: frame.to_parquet(path),
    "jsonl": write_jsonl,
    "npz": write_npz,
    "ts": write_ts,
    "wide.csv": write_wide,
    "folder": write_folder,
    "arrays": write_arrays,
}


def from_file(suffix, tmp_path, frame, **options):
    path = tmp_path / f"a.{suffix}"
    FORMATS[suffix](frame, path)
    layout = {"layout": "wide"} if suffix.startswith("wide") else {}
    return SequenceFiles(path, val_fraction=0, **layout, **options)


def in_memory(kind, frame, **options):
    if kind == "padded":
        inputs, lengths = padded(frame)
        return SequenceArrays(inputs, labels_of(frame), lengths=lengths, val_fraction=0, **options)
    if kind == "None":
        lists = [[[None if np.isnan(v) else v for v in step] for step in each] for each in sequences_of(frame)]
        return SequenceArrays(lists, labels_of(frame), val_fraction=0, **options)
    if kind in ("pandas", "polars"):
        frame = frame if kind == "pandas" else polars.from_pandas(frame)
        return SequenceFrames(frame, val_fraction=0, **options)
    convert = torch.from_numpy if kind == "tensors" else np.asarray
    inputs = [convert(sequence) for sequence in sequences_of(frame)]
    return SequenceArrays(inputs, labels_of(frame), val_fraction=0, **options)


MEMORY = ["arrays", "tensors", "padded", "None", "pandas", "polars"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_files_with_missing_values_are_masked(tmp_path, suffix):
    frame = frame_of()
    data = from_file(suffix, tmp_path, frame, missing="mask")
    order = [str(name).split("/")[-1] for name in data.sample_ids("train")]
    if suffix in ("folder", "arrays"):
        frame = pd.concat([frame[frame.id == name] for name in order])
    np.testing.assert_allclose(data.split("train").values, expected(frame), atol=1e-5)
    assert (data.input_size, data.encoding.num_features) == (4, 2)


@pytest.mark.parametrize("kind", MEMORY)
def test_missing_values_in_memory_are_masked(kind):
    frame = frame_of()
    data = in_memory(kind, frame, missing="mask")
    np.testing.assert_allclose(data.split("train").values, expected(frame), atol=1e-5)


@pytest.mark.parametrize("suffix", FORMATS)
def test_files_with_missing_values_are_refused_by_default(tmp_path, suffix):
    with pytest.raises(DataError, match='If values may be missing: `missing="mask"`'):
        from_file(suffix, tmp_path, frame_of())


@pytest.mark.parametrize("kind", MEMORY)
def test_missing_values_in_memory_are_refused_by_default(kind):
    with pytest.raises(DataError, match='If values may be missing: `missing="mask"`'):
        in_memory(kind, frame_of())


@pytest.mark.parametrize("marker", ["", "NA", "N/A", "?", "NaN", "null", "None", "#N/A", "<NA>", " na ", "-"])
def test_markers_of_missing_values_in_text(tmp_path, marker):
    frame = frame_of()
    frame.to_csv(tmp_path / "a.csv", index=False, na_rep=marker)
    data = SequenceFiles(tmp_path / "a.csv", val_fraction=0, missing="mask")
    np.testing.assert_allclose(data.split("train").values, expected(frame), atol=1e-5)
    if marker.startswith("#"):  # a comment, in this format
        return
    write_ts(frame, tmp_path / "a.ts", marker)
    data = SequenceFiles(tmp_path / "a.ts", val_fraction=0, missing="mask")
    np.testing.assert_allclose(data.split("train").values, expected(frame), atol=1e-5)


def test_nan_in_json_is_missing(tmp_path):
    frame = frame_of()
    write_jsonl(frame, tmp_path / "a.jsonl", null=float("nan"))
    data = SequenceFiles(tmp_path / "a.jsonl", val_fraction=0, missing="mask")
    np.testing.assert_allclose(data.split("train").values, expected(frame), atol=1e-5)


@pytest.mark.parametrize("place", [0, 1, -1])
@pytest.mark.parametrize("marker", ["NA", "?", ""])
def test_marker_does_not_turn_numbers_into_tokens(tmp_path, marker, place):
    frame = frame_of(share=0)[["id", "t", "y", "label"]].astype({"y": str})
    frame.loc[frame.index[place], "y"] = marker
    frame.to_csv(tmp_path / "a.csv", index=False)
    data = SequenceFiles(tmp_path / "a.csv", val_fraction=0, missing="mask")
    assert data.encoding.num_features == 1
    assert data.split("train").values.shape == (len(frame), 3)


def test_mean_scale_and_channels_are_learned_from_the_training_sequences():
    """Of those, x has no missing value in the first half; mean and scale come from observed values alone."""
    frame = frame_of()
    data = SequenceFrames(frame, missing="mask", val_fraction=0.5)
    train = frame[frame.id.isin(data.sample_ids("train"))]
    for split in ("train", "val"):
        rows = frame[frame.id.isin(data.sample_ids(split))]
        sequences = data.split(split).compact()
        np.testing.assert_allclose(sequences.values, expected(rows, train), atol=1e-5)


def test_feature_that_was_never_missing_in_training_is_filled_and_reported():
    frame, new = frame_of(), frame_of(seed=1)
    new.loc[[3, 20], "y"] = np.nan
    data = SequenceFrames(frame, test=new, missing="mask", val_fraction=0)
    report = data.report(["train", "test"])
    assert f"train frame: missing values in {len(frame)} steps: 'x' {frame.x.isna().sum()}\n" in report
    assert f"test frame: missing values in {len(new)} steps: 'x' {new.x.isna().sum()}, 'y' 2\n" in report
    assert "test frame: missing here, but never in the training data: 'y'; no channels" in report
    assert "inputs: 2 features, standardised, and 2 added channels" in report
    np.testing.assert_allclose(data.split("test").values, expected(new, frame), atol=1e-5)


def test_training_data_without_missing_values_have_no_channels():
    frame, new = frame_of(share=0).dropna(), frame_of(seed=1)
    data = SequenceFrames(frame, test=new, missing="mask", val_fraction=0)
    assert data.input_size == 2
    np.testing.assert_allclose(data.split("test").values, expected(new, frame)[:, :2], atol=1e-5)


def test_fill_is_the_mean_without_standardising():
    frame = frame_of()
    data = SequenceFrames(frame, missing="mask", val_fraction=0, standardise=False)
    filled = frame.groupby("id", sort=False)[["x", "y"]].ffill().fillna(frame[["x", "y"]].mean())
    np.testing.assert_allclose(data.split("train").values[:, :2], filled, rtol=1e-6)
    np.testing.assert_allclose(data.split("train").values[:, 2:], expected(frame)[:, 2:], atol=1e-5)


@pytest.mark.parametrize("kind", ["arrays", "pandas"])
def test_feature_without_any_value_is_refused(kind):
    with pytest.raises(DataError, match="expected a value in some training sequence, got none"):
        in_memory(kind, frame_of().assign(x=np.nan), missing="mask")


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39])
def test_infinite_values_are_not_missing(value):
    frame = frame_of()
    frame.loc[3, "x"] = value
    with pytest.raises(DataError, match="row 4, column 'x': expected a finite number"):
        SequenceFrames(frame, missing="mask")


def test_words_among_numbers_are_not_missing(tmp_path):
    frame = frame_of().astype({"x": object})
    frame.loc[3, "x"] = "abc"
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match="row 4, column 'x': expected a number, got 'abc'"):
        SequenceFiles(tmp_path / "a.csv", missing="mask")


def test_new_sequences_are_filled_as_in_training():
    frame, new = frame_of(), frame_of(seed=1)
    data = SequenceFrames(frame, missing="mask", val_fraction=0)
    batch = data.encode(sequences_of(new))
    rows = np.concatenate([batch.inputs[row, :length].numpy() for row, length in enumerate(batch.lengths.tolist())])
    np.testing.assert_allclose(rows, expected(new, frame), atol=1e-5)


def test_encoding_is_plain_and_its_option_can_not_change():
    frame = frame_of()
    data = SequenceFrames(frame, missing="mask", val_fraction=0)
    plain = json.loads(json.dumps(data.hparams["encoding"]))
    again = SequenceFrames(predict=frame[["id", "t", "y", "x"]], missing="mask", encoding=plain, val_fraction=0)
    np.testing.assert_array_equal(again.split("predict").values, data.split("train").values)
    with pytest.raises(ValueError, match="missing can't change after training, got 'refuse'"):
        SequenceFrames(predict=frame, encoding=plain)
    with pytest.raises(ValueError, match="masked features must be some of 2"):
        seqlight.data.encoding.Channels((0.0, 0.0), (2,), (1.0,))


def test_steps_without_values_may_be_padding():
    inputs = [np.array([[1.0], [2.0], [np.nan]]), np.array([[1.0], [np.nan], [2.0]])]
    data = SequenceArrays(inputs, ["a", "b"], val_fraction=0, missing="mask")
    assert "1 of 2 sequences end in steps without any value; if these are padding" in data.report(["train"])


def test_equal_sequences_with_missing_values_are_counted_in_both_splits():
    """NaN of other bits is missing too."""
    frame = frame_of()
    new = frame.assign(x=np.where(frame.x.isna(), -np.array(np.nan), frame.x))
    data = SequenceFrames(frame, val=new, missing="mask")
    assert "12 of 12 sequences in val are also in train" in data.report(["train", "val"])
