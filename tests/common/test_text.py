import io
import logging
import pickle
import sys
import unicodedata
import warnings

import pytest

from seqlight.checkpoints.run_folder import RunInUseError
from seqlight.cli.flag_errors import UsageError
from seqlight.common.batch import BatchError
from seqlight.common.description import NotImportedError
from seqlight.common.errors import CheckpointError, DamagedCheckpointError, WriteError
from seqlight.common.text import libraries_show_text, one_line, show, show_exception, visible
from seqlight.data.loader import ResumeError
from seqlight.data.reading.raw import DataError

CONTROL = [chr(code) for code in (*range(32), *range(127, 160), *range(0x2028, 0x202F), *range(0x2066, 0x206A))]
CONTROL = [*CONTROL, *map(chr, (0x061C, 0x200E, 0x200F, 0xD800))]
FORGED = "a\x1b[2J\nseqlight: error: forged\r\x85\u2028\u202e"
SHOWN = r"a\x1b[2J\nseqlight: error: forged\r\x85\u2028\u202e"


@pytest.mark.parametrize("character", CONTROL, ids=ascii)
def test_control_characters_are_escapes(character):
    assert unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    # Python's own escapes are the reference.
    assert one_line(f"a{character}b") == f"a{repr(character)[1:-1]}b"
    assert one_line(one_line(character)) == one_line(character)


@pytest.mark.parametrize("text", ["caf\u00e9", "\u05e9\u05dc\u05d5\u05dd", "\u4f60\u597d", "\U0001f600", "a b\\n"])
def test_other_text_stays(text):
    assert one_line(text) == text


def test_ends_of_lines_can_stay():
    assert visible("a\nb\x1b\nc", "  ") == "a\n  b\\x1b\n  c"


def test_show(capsys):
    show("a\x1b", "b\nc")
    show("d", file=sys.stderr)
    assert capsys.readouterr() == ("a\\x1b\n\nb\nc\n", "d\n")


@pytest.mark.parametrize(
    "kind",
    [
        BatchError,
        CheckpointError,
        DamagedCheckpointError,
        DataError,
        ResumeError,
        RunInUseError,
        UsageError,
        WriteError,
    ],
)
def test_errors(kind):
    error = kind(FORGED)
    assert str(error) == SHOWN
    assert str(pickle.loads(pickle.dumps(error))) == SHOWN
    if kind is not WriteError:
        assert str(kind(FORGED, "", "a second line")) == f"{SHOWN}\na second line"


def test_error_about_a_class_path():
    assert FORGED not in str(NotImportedError(f"{FORGED}.X", FORGED))


def test_warnings_and_log_messages_of_libraries(capsys):
    stream = io.StringIO()
    logger = logging.getLogger("some.library")
    logger.addHandler(handler := logging.StreamHandler(stream))
    with libraries_show_text():
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = warnings.__dict__["_showwarning_orig"]
            sys.stderr.write(warnings.formatwarning(FORGED, UserWarning, "file.py", 1, ""))
        logger.warning("a file %s", FORGED)
        logger.warning("lines\n%d", 5)
    logger.removeHandler(handler)
    shown = f"{SHOWN}\n".replace(r"\n", "\n  ", 1)
    assert stream.getvalue() == f"a file {shown}lines\n  5\n"
    assert shown in capsys.readouterr().err
    assert logging.getLogRecordFactory() is logging.LogRecord


def test_traceback(capsys):
    try:
        raise RuntimeError("a\x1b\u202e")
    except RuntimeError as error:
        show_exception(type(error), error, error.__traceback__)
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith(r"RuntimeError: a\x1b\u202e" + "\n")
