"""Runs of the command line in TensorBoard's server and in its page."""

import contextlib
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import matplotlib.image
import pytest
from torch.nn import LSTM

from seqlight.callbacks.logger import logger_of
from tests.processes import Command

RUN, TINY_RUN = "main/version_0", "tiny/version_0"
EPOCHS, STEPS_PER_EPOCH = 3, 7  # 200 samples in batches of 32
METRICS = ("loss", "accuracy", "auroc", "f1", "calibration_error")
TRAIN_TAGS = {"train/loss", "train/accuracy", "train/learning_rate", "train/gradient_norm"}
VAL_TAGS = {f"val/{name}" for name in (*METRICS, "best_accuracy", "best_loss")}
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-3d-apis",  # without WebGL the page draws curves as SVG, so that they are in the HTML
    "--window-size=1400,3600",  # only cards in view are drawn
    "--virtual-time-budget=15000",
    "--dump-dom",
]


class Server(NamedTuple):
    url: str
    get: Callable[..., Any]


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A folder with a short run, and a run with fewer steps than `log_every_n_steps`."""
    folder = tmp_path_factory.mktemp("tensorboard")
    for name, epochs, num_train in (("main", EPOCHS, 200), ("tiny", 1, 64)):
        settings = {"--trainer.max_epochs": epochs, "--data.num_train": num_train, "--data.num_val": 100}
        flags = [str(word) for setting in settings.items() for word in setting]
        status, _, err = Command(folder, "fit", "--name", name, "--device", "cpu", *flags).wait()
        assert status == 0, err
    return folder / "runs"


@contextlib.contextmanager
def serving(runs, *names):
    """TensorBoard's server after it has read these runs; `get` fetches JSON from it."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs), "--port", "0", "--host", "127.0.0.1"]
    log = runs.parent / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
    try:
        url = wait_for(lambda: re.search(r"http://127\.0\.0\.1:\d+", log.read_text()), log.read_text)[0]

        def get(path: str, body: dict[str, Any] | None = None, **query: str) -> Any:
            data = None if body is None else json.dumps(body).encode()
            request = Request(f"{url}{path}?{urlencode(query)}", data, {"Content-Type": "application/json"})
            with urlopen(request, timeout=30) as response:
                return json.load(response)

        def all_read() -> bool:
            parts = [get(f"/data/plugin/{plugin}/tags") for plugin in ("scalars", "images", "text")]
            return all(run in part for part in parts for run in names)

        wait_for(all_read, log.read_text)
        yield Server(url, get)
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="session")
def server(runs):
    """A server of both runs."""
    with serving(runs, RUN, TINY_RUN) as found:
        yield found


def wait_for(condition, explain, seconds=60):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, explain()
        time.sleep(0.1)
    return value


def curve(server, tag, run=RUN):
    points = server.get("/data/plugin/scalars/scalars", run=run, tag=tag)
    return [step for _, step, _ in points], [value for _, _, value in points]


@pytest.mark.parametrize("run", [RUN, TINY_RUN])
def test_scalars(server, run):
    # In particular, no curve of the epoch number and no hp_metric of Lightning.
    assert set(server.get("/data/plugin/scalars/tags")[run]) == TRAIN_TAGS | VAL_TAGS


@pytest.mark.parametrize("tag", sorted(TRAIN_TAGS | VAL_TAGS))
def test_curve(server, tag):
    steps, values = curve(server, tag)
    assert steps == sorted(set(steps))
    assert all(math.isfinite(value) for value in values)
    epoch_ends = [STEPS_PER_EPOCH * epoch for epoch in range(1, EPOCHS + 1)]
    # Training has points at multiples of log_every_n_steps = 10. An epoch of 7 steps without one has a point at its
    # end.
    assert steps == ([7, 10, 20] if tag in TRAIN_TAGS else epoch_ends)


def test_loss_falls(server):
    _, losses = curve(server, "train/loss")
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("tag", sorted(TRAIN_TAGS))
def test_curve_of_a_run_shorter_than_the_logging_interval(server, tag):
    steps, [value] = curve(server, tag, TINY_RUN)
    assert steps == [2]
    assert math.isfinite(value)


def test_text_is_the_configuration(server):
    assert server.get("/data/plugin/text/tags")[RUN] == ["configuration/text_summary"]
    [text] = server.get("/data/plugin/text/text", run=RUN, tag="configuration/text_summary")
    for part in ("seqlight.SequenceClassifier", "seqlight.LSTMCell", "seqlight.SumSign", "num_train: 200"):
        assert part in text["text"]


def test_images(server):
    tags = server.get("/data/plugin/images/tags")[RUN]
    names = ("confusion_matrix", "roc", "reliability", "memory", "data")
    assert set(tags) == {f"val_figures/{name}" for name in names}
    for tag in tags:
        images = server.get("/data/plugin/images/images", run=RUN, tag=tag, sample="0")
        assert [image["step"] for image in images] == [0 if tag.endswith("data") else STEPS_PER_EPOCH * EPOCHS]
        with urlopen(f"{server.url}/data/plugin/images/individualImage?{images[-1]['query']}", timeout=30) as response:
            image = matplotlib.image.imread(io.BytesIO(response.read()), format="png")
        assert image.std() > 0.05  # not blank


FIRST_COLUMNS = [
    *("data.task", "model.cell", "model.cell.hidden_size", "model.learning_rate", "model.num_layers"),
    *("parameters", "seed", "trainer.max_epochs"),
]
FINAL = {"val/accuracy": "val/accuracy", "val/loss": "val/loss"}
BEST = {"val/best_accuracy": ("val/accuracy", max), "val/best_loss": ("val/loss", min)}


def hparams(server):
    """The columns of arguments and results in their order, and the rows by run."""
    experiment = server.get("/data/plugin/hparams/experiment", body={})
    query = {"startIndex": 0, "sliceSize": 10, "allowedStatuses": ["STATUS_SUCCESS"]}
    query["colParams"] = [{"metric": info["name"]} for info in experiment["metricInfos"]]
    found = server.get("/data/plugin/hparams/session_groups", body=query)["sessionGroups"]
    columns = [info["name"] for info in experiment["hparamInfos"]]
    metrics = [info["displayName"] for info in experiment["metricInfos"]]
    return columns, metrics, {group["sessions"][0]["name"]: group for group in found}


def test_hparams_show_arguments_and_results(server):
    columns, metrics, groups = hparams(server)
    # The page ticks the first five of each.
    assert columns[: len(FIRST_COLUMNS)] == FIRST_COLUMNS
    assert {"data.num_train", "data.task.max_length", "model.dropout"} <= set(columns)
    assert metrics == ["val/accuracy", "val/best_accuracy", "val/loss", "val/best_loss", "test/accuracy", "test/loss"]
    assert set(groups) == {RUN, TINY_RUN}
    for run, num_train, epochs in ((RUN, 200, EPOCHS), (TINY_RUN, 64, 1)):
        values = groups[run]["hparams"]
        assert (values["model.cell"], values["data.task"], values["data.num_train"]) == (
            "LSTMCell",
            "SumSign",
            num_train,
        )
        assert (values["seed"], values["trainer.max_epochs"]) == (0, epochs)
        lstm = LSTM(1, 32)
        head = 33
        assert values["parameters"] == sum(part.numel() for part in lstm.parameters()) + head
        results = {metric["name"]["tag"]: metric for metric in groups[run]["metricValues"]}
        assert set(results) == {*FINAL, *BEST}
        for tag, result in results.items():
            steps, points = curve(server, tag, run)
            assert result["value"] == pytest.approx(points[-1])
            assert result["trainingStep"] == steps[-1]
        for tag, (source, best) in BEST.items():
            assert results[tag]["value"] == pytest.approx(best(curve(server, source, run)[1]))


def test_hparams_show_the_results_of_a_test_in_the_row_of_its_run(runs, tmp_path):
    """And of its first test only."""
    folder = tmp_path / "runs" / TINY_RUN
    shutil.copytree(runs / TINY_RUN, folder)
    for accuracy in (0.25, 0.75):
        logger = logger_of(folder, kind="test")
        logger.log_metrics({"test/accuracy": accuracy, "test/loss": 1 - accuracy}, step=2)
        logger.finalize("success")
    with serving(tmp_path / "runs", TINY_RUN) as server:
        wait_for(lambda: f"{TINY_RUN}/test_2" in server.get("/data/plugin/scalars/tags"), lambda: "test is not read")
        _, _, groups = hparams(server)
    assert list(groups) == [TINY_RUN]
    values = {metric["name"]["tag"]: metric["value"] for metric in groups[TINY_RUN]["metricValues"]}
    assert values["test/accuracy"] == 0.25
    assert values["test/loss"] == 0.75
    assert {*FINAL, *BEST} < set(values)


def test_browser_draws_the_curves_first(server, tmp_path):
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    browser = next((path for path in found if path), None)
    if browser is None:
        pytest.skip("no chromium, chromium-browser or google-chrome to open TensorBoard's page with")
    command = [browser, *CHROMIUM_FLAGS, f"--user-data-dir={tmp_path}", f"{server.url}/#timeseries"]

    def drawn_page():
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert run.returncode == 0, run.stderr
        page.append(run.stdout)
        # On a busy machine the browser's time can run out before the page has loaded its curves.
        return run.stdout if run.stdout.count("stroke: rgb") >= len(TRAIN_TAGS | VAL_TAGS) else None

    page = []
    html = wait_for(drawn_page, lambda: f"no page with all curves: {page[-1][-2000:]}", seconds=180)
    assert re.findall(r'class="group-title" title="(\w+)"', html) == ["train", "val", "val_figures"]
    # Each tag has one chart with its curve.
    charts = re.findall(r"<scalar-card .*?</scalar-card>", html, re.DOTALL)
    assert len(charts) == len(TRAIN_TAGS | VAL_TAGS)
    for tag, chart in zip(sorted(TRAIN_TAGS | VAL_TAGS), charts, strict=True):
        assert tag in chart
        # Each run has a line of smoothed values and a fainter line of the values.
        lines = re.findall(r'<path d="(M[^"]+)" style="fill: none; stroke: rgb', chart)
        num_points = max(len(re.findall("[ML]", line)) for line in lines)
        assert num_points == len(curve(server, tag)[0])
        assert "NaN" not in "".join(lines)
