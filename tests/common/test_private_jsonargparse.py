"""One test for each function of `seqlight.common.private_jsonargparse`, of the same name.

Each checks the function's assumption. A failure after an update of jsonargparse means that the new version
has changed what the function of the same name uses.
"""

import functools
from collections.abc import Callable
from typing import Literal

import jsonargparse
import pytest

from seqlight.common import private_jsonargparse
from tests.common.has_tests import functions_without_test


def test_each_function_has_a_test():
    assert not functions_without_test(private_jsonargparse, globals())


def test_limit_imports():
    before = dict(jsonargparse._common.parsing_settings)
    restore = private_jsonargparse.limit_imports(["collections"])
    try:
        assert jsonargparse._util.import_object("collections.Counter") is not None
        with pytest.raises(ValueError, match="is not allowed"):
            jsonargparse._util.import_object("decimal.Decimal")
    finally:
        restore()
    assert jsonargparse._common.parsing_settings == before


class Part:
    """A class for a flag."""

    def __init__(self, size: int, depth: int = 1):
        self.size, self.depth = size, depth


class OtherPart(Part):
    """Another one."""


def parse(*arguments):
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--part", type=Callable[[int], Part])
    parser.add_argument("--whole", type=Part)
    parser.add_argument("--count", type=int | None)
    parser.add_argument("--pair", type=tuple[int, int])
    parser.add_argument("--choice", type=Literal["one", "two"])
    return parser, parser.parse_args(list(arguments))


def message_of(*arguments):
    with pytest.raises(jsonargparse.ArgumentError) as caught:
        parse(*arguments)
    return str(caught.value)


NAME = f"{__name__}.OtherPart"


def test_bound_class():
    parser, config = parse(f"--part={NAME}", "--part.depth=3")
    bound = private_jsonargparse.bound_class(parser.instantiate_classes(config).part)
    assert isinstance(bound, functools.partial)
    assert (bound.func, bound.args, bound.keywords) == (OtherPart, (), {"depth": 3})
    assert private_jsonargparse.bound_class(5) == 5


def test_import_paths_noted():
    noted = []
    with private_jsonargparse.import_paths_noted(noted.append):
        parser, config = parse(f"--part={NAME}")
        parser.instantiate_classes(config)
    assert NAME in noted
    del noted[:]
    parse(f"--part={NAME}")
    assert noted == []


def test_error_key():
    assert private_jsonargparse.error_key(message_of("--count=many")) == "count"
    assert private_jsonargparse.error_key("no key") == ""


class Refuses:
    """A class that can't be built."""

    def __init__(self):
        raise ModuleNotFoundError("it needs a package")


def test_class_problem():
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--part", type=Refuses | bool)
    arguments = parser.parse_args([f"--part={__name__}.Refuses"])
    with pytest.raises(Exception, match="it needs a package") as caught:
        parser.instantiate_classes(arguments)
    assert private_jsonargparse.class_problem(str(caught.value)) == f"{__name__}.Refuses: it needs a package"
    assert private_jsonargparse.class_problem(message_of("--count=many")) is None


def test_is_own_exit(capsys):
    with pytest.raises(SystemExit) as caught:
        jsonargparse.ArgumentParser().parse_args(["--help"])
    assert private_jsonargparse.is_own_exit(caught.value)
    with pytest.raises(SystemExit) as caught:
        raise SystemExit(0)
    assert not private_jsonargparse.is_own_exit(caught.value)


def test_unaccepted_option():
    assert private_jsonargparse.unaccepted_option(message_of(f"--whole={NAME}", "--whole.colour=3")) == "colour"


def test_refusing_class():
    assert private_jsonargparse.refusing_class(message_of(f"--whole={NAME}", "--whole.colour=3")) == NAME
    assert private_jsonargparse.refusing_class(message_of("--count=many")) is None


def test_missing_file(tmp_path):
    missing = str(tmp_path / "none.yaml")
    assert private_jsonargparse.missing_file(message_of(f"--config={missing}")) == missing
    assert private_jsonargparse.missing_file(message_of("--count=many")) is None


def test_is_not_a_configuration(tmp_path):
    (tmp_path / "text.yaml").write_text("just a text")
    assert private_jsonargparse.is_not_a_configuration(message_of(f"--config={tmp_path / 'text.yaml'}"))
    assert not private_jsonargparse.is_not_a_configuration(message_of("--count=many"))


def test_is_not_a_class_path():
    assert private_jsonargparse.is_not_a_class_path(message_of("--whole=file.csv/x"))
    assert not private_jsonargparse.is_not_a_class_path(message_of("--count=many"))


def test_unknown_class():
    assert private_jsonargparse.unknown_class(message_of("--whole=NoSuchPart")) == "NoSuchPart"


def test_import_failure():
    assert (
        private_jsonargparse.import_failure(message_of("--whole=no_such_module.Part"))
        == "No module named 'no_such_module'"
    )


def test_callable_refusal():
    refusal = private_jsonargparse.callable_refusal(message_of("--part=builtins.len"))
    assert refusal is None or "len" in refusal


def test_given_value():
    assert private_jsonargparse.given_value(message_of("--count=many")) == "many"
    assert private_jsonargparse.given_value(message_of(f"--whole={NAME}", "--whole.size=large")) == "large"


def test_literal_choices():
    assert private_jsonargparse.literal_choices(message_of("--choice=three")) == "one, two"


def test_expected_types():
    assert private_jsonargparse.expected_types(message_of("--count=many")) == ["int"]


def test_expected_elements():
    assert private_jsonargparse.expected_elements(message_of("--pair=[1]")) == "2"
    assert private_jsonargparse.expected_elements(message_of("--count=many")) is None


def test_informative_lines():
    lines = private_jsonargparse.informative_lines(message_of("--count=many"))
    assert lines
    assert not any(line.startswith(("Does not validate", "Subtypes")) for line in lines)


def test_classes_keep_own_defaults():
    class Base:
        pass

    class One(Base):
        def __init__(self, size: int = 1):
            pass

    class Two(Base):
        def __init__(self, size: int = 2):
            pass

    globals().update(One=One, Two=Two)
    for cls in (One, Two):
        cls.__qualname__ = cls.__name__
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--part", type=Base)
    words = [f"--part={__name__}.One", "--part.size=5", f"--part={__name__}.Two"]
    assert parser.parse_args(words).part.init_args.size == 5
    with private_jsonargparse.classes_keep_own_defaults():
        assert parser.parse_args(words).part.init_args.size == 2
        assert parser.parse_args([*words, "--part.size=3", words[-1]]).part.init_args.size == 3
