"""Uses of private parts of jsonargparse, which can change in any version.

Each attribute with an underscore, replaced method and parsed message has one function here. Its docstring states the
assumption, and why there is no public way. Each function has one test in
`tests/common/test_private_jsonargparse.py`: if a new version breaks an assumption, the test with its name
fails.

Nothing here imports jsonargparse before it is needed, because cells and tasks do not need it.
"""

import argparse
import contextlib
import functools
import importlib
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any


def limit_imports(modules: Sequence[str]) -> Callable[[], None]:
    """Let values that are parsed name only these modules; returns a function that ends this.

    jsonargparse has these settings for the process, and no public way to restore them.
    """
    from jsonargparse import _common, set_parsing_settings

    before = dict(_common.parsing_settings)
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=list(modules))
    return lambda: _common.parsing_settings.update(before)


def bound_class(value: Any) -> Any:
    """`functools.partial(cls, **arguments)` for what jsonargparse makes of a flag that names a class to call later.

    jsonargparse makes a partial of its own function, with the class as the last positional argument. Any other value
    is returned unchanged.
    """
    if isinstance(value, functools.partial) and value.args and isinstance(value.args[-1], type):
        return functools.partial(value.args[-1], **value.keywords)
    return value


@contextlib.contextmanager
def classes_keep_own_defaults() -> Iterator[None]:
    """Let a class that replaces another one start with its own defaults, while arguments are parsed.

    jsonargparse keeps those arguments of the replaced class that the new class accepts too, and has no setting for it.
    """
    from jsonargparse import _typehints

    name = "discard_init_args_on_class_path_change"
    original = getattr(_typehints, name)

    def discard(parser: Any, replaced: Any, value: Any) -> None:
        if replaced and "init_args" in replaced and replaced["class_path"] != value["class_path"]:
            del replaced["init_args"]

    setattr(_typehints, name, discard)
    try:
        yield
    finally:
        setattr(_typehints, name, original)


@contextlib.contextmanager
def import_paths_noted(note: Callable[[str], None]) -> Iterator[None]:
    """Call a function with each import path in flags and configurations, before jsonargparse imports it.

    jsonargparse checks such a path, and no path that comes from code.
    """
    modules = [importlib.import_module(f"jsonargparse.{name}") for name in ("_util", "_typehints")]
    check = modules[0].check_import_path

    def check_and_note(path: str) -> None:
        check(path)
        note(path)

    for module in modules:
        vars(module)["check_import_path"] = check_and_note
    try:
        yield
    finally:
        for module in modules:
            vars(module)["check_import_path"] = check


# The functions below read the text of a jsonargparse.ArgumentError: it has no attributes for the details.


def error_key(message: str) -> str:
    """The full name of the argument in an error, such as `data.task`; empty if there is none."""
    return ".".join(re.findall(r'Parser key "([^"]+)"', message))


def is_own_exit(stop: SystemExit) -> bool:
    """Whether the parser ended the command, after it printed help or the configuration."""
    return traceback.extract_tb(stop.__traceback__)[-1].filename == argparse.__file__


def class_problem(message: str) -> str | None:
    """The class that could not be built from its arguments, and why."""
    found = re.search(r"Problem with given class_path '([^']+)':\n\s*(\S.*)", message)
    return found and f"{found[1]}: {found[2]}"


def unaccepted_option(message: str) -> str | None:
    """The name of an argument that a class or a command does not take."""
    return _first(r"(?:Option|does not accept option) '([^']+)'", message)


def refusing_class(message: str) -> str | None:
    """The class that does not take an argument."""
    found: list[str] = re.findall(r"class_path(?:=| )'([^']+)'", message)
    return found[-1] if found else None


def missing_file(message: str) -> str | None:
    """The path of a configuration that does not exist."""
    return _first(r"File does not exist: '(.+)'$", message)


def is_not_a_configuration(message: str) -> bool:
    """Whether a file given as a configuration is none."""
    return "Unexpected config" in message


def is_not_a_class_path(message: str) -> bool:
    """Whether a class path was expected, and the value does not have that form."""
    return "Unexpected import path format" in message


def unknown_class(message: str) -> str | None:
    """The name of a class that was not found."""
    return _first(r"(?:Expected a dot import path string: |Expected a path but )(\S+)", message)


def import_failure(message: str) -> str | None:
    """The reason why a class could not be imported."""
    return _first(
        r"(No module named \S+|module '[^']+' has no attribute '[^']+'|Importing '[^']+' is not allowed)", message
    )


def callable_refusal(message: str) -> str | None:
    """The reason why a value was refused if a class or function is expected."""
    return _first(r"expects a function or a callable class: (.*?)\.* Got value", message)


def given_value(message: str) -> str:
    """The given value. If the text has several, the last one belongs to the argument itself."""
    value = _first(r"Got value: (\S+?)[.]?(?: Got value|$)", message)
    if value is None:
        value = (re.findall(r"Given value: (.*)", message) or [""])[-1]
    return re.sub(r"^NestedArg\(key='[\w.]+', val='?(.*?)'?\)$", r"\1", value)


def literal_choices(message: str) -> str | None:
    """The choices of a `Literal`, with commas."""
    choices = _first(r"Expected a typing\.Literal\[(.*?)\]", message)
    return None if choices is None else choices.replace("'", "")


def expected_types(message: str) -> list[str]:
    """The names of the types that were expected, without None."""
    names = re.findall(r"Expected (?:a )?<class '([^']+)'>", message)
    return [name for name in dict.fromkeys(names) if name != "NoneType"]


def expected_elements(message: str) -> str | None:
    """The number of elements that a tuple should have had."""
    return _first(r"Expected a tuple with (\d+) elements", message)


def informative_lines(message: str) -> list[str]:
    """The lines of an error, without those about the types of a union that did not fit."""
    noise = ("Does not validate", "Subtypes:", "Errors:", "Expected a <class 'NoneType'>", "Given value",
             "Problem with given class_path")  # fmt: skip
    lines = [line.strip().removeprefix("- ") for line in message.splitlines() if line.strip()]
    return [line for line in lines if not line.startswith(noise)] or lines[:1]


def _first(pattern: str, message: str) -> str | None:
    found = re.search(pattern, message, re.MULTILINE)
    return None if found is None else found[1]
