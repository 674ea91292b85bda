import sys

import pytest

from seqlight.cli.terminal import fitted, wrapped

LINE = "train   a.csv: 320 sequences of 10 to 39 steps (median 26); run 160, walk 160"


class Terminal:
    def __init__(self, is_terminal):
        self.isatty = lambda: is_terminal


@pytest.fixture
def columns(monkeypatch):
    """Make standard output a terminal of this width. Called in the test: pytest replaces standard output before it."""

    def terminal(number):
        monkeypatch.setattr(sys, "stdout", Terminal(True))
        monkeypatch.setenv("COLUMNS", str(number))

    return terminal


@pytest.mark.parametrize("width", [40, 60, 76])
def test_lines_have_the_width_of_the_terminal(width, columns):
    columns(width)
    text = fitted(f"{LINE}\n{LINE}", "    ")
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("train   a.csv")
    assert lines[1].startswith("    ")
    first = text[: len(text) // 2]
    assert " ".join(first.split()) == " ".join(LINE.split())


def test_lines_that_fit_are_not_changed(columns):
    columns(len(LINE))
    assert fitted(LINE) == LINE


def test_narrow_terminal_counts_as_one_of_40_columns(columns):
    columns(3)
    assert max(map(len, fitted(LINE).splitlines())) <= 40


def test_pipe_gets_whole_lines(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal(False))
    monkeypatch.setenv("COLUMNS", "40")
    assert fitted(LINE) == LINE


def test_words_are_not_broken():
    path = "a-long/path-" + 60 * "x"
    assert wrapped(f"file {path} ends", 30).split() == ["file", path, "ends"]
