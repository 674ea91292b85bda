import importlib
import os
import subprocess
import sys

import pytest

from seqlight.cli.flag_errors import explain_import
from seqlight.common.user_modules import allow, folder_importable

FILES = {
    "mine.py": "from helper_of_mine import VALUE",
    "helper_of_mine.py": "import second_helper\nVALUE = second_helper.VALUE",
    "second_helper.py": "VALUE = 7",
    "late.py": "import importlib\n\ndef get():\n    return importlib.import_module('helper_of_late').VALUE",
    "helper_of_late.py": "VALUE = 8",
    "package/__init__.py": "",
    "package/part.py": "from package.other import VALUE",
    "package/other.py": "VALUE = 9",
    "without_init/part.py": "VALUE = 10",
    "optional_module.py": "raise RuntimeError('nobody named it')",
    "random.py": "",
    "needs_library.py": "import library_of_test\nVALUE = library_of_test.HAS_OPTIONAL",
}
LIBRARY = """
try:
    import optional_module
    HAS_OPTIONAL = True
except ImportError:
    HAS_OPTIONAL = False
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder with modules, and beside it a library that looks for an optional module."""
    before = set(sys.modules)
    here, libraries = tmp_path / "here", tmp_path / "libraries"
    for name, text in FILES.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text)
    libraries.mkdir()
    (libraries / "library_of_test.py").write_text(LIBRARY)
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(libraries))
    with folder_importable(str(here)):
        yield here
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("named", "module", "value"),
    [
        ("mine", "mine", 7),
        ("mine.LeakyCell", "mine", 7),
        ("package", "package.part", 9),
        ("package.part.LeakyCell", "package.part", 9),
        ("without_init.part.LeakyCell", "without_init.part", 10),
        ("needs_library", "needs_library", False),
    ],
)
def test_named_modules_are_imported_with_what_lies_beside_them(folder, named, module, value):
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(module)
    allow(named)
    imported = importlib.import_module(module)
    assert value == imported.VALUE


def test_imports_inside_functions_of_a_users_module(folder):
    allow("late")
    assert importlib.import_module("late").get() == 8


def test_libraries_find_nothing_in_the_folder(folder):
    allow("mine")
    importlib.import_module("mine")
    assert not importlib.import_module("library_of_test").HAS_OPTIONAL


def test_installed_modules_are_found_first(folder):
    allow("random")
    assert importlib.import_module("random").__file__ != str(folder / "random.py")
    assert str(folder / "random.py") in explain_import("random.LeakyCell")
    assert "rename" in explain_import("random")


@pytest.mark.parametrize("path", ["mine.LeakyCell", "torch.nn.ReLU", "no_such_module", "without_init.part", "", "..x"])
def test_nothing_to_explain(folder, path):
    allow("mine")
    assert explain_import(path) == ""


def test_a_module_that_a_library_could_not_find_is_named(folder):
    error = ModuleNotFoundError("No module named 'second_helper'", name="second_helper")
    assert "--import second_helper" in explain_import("mine", error)
    assert explain_import("mine", ModuleNotFoundError("No module named 'other'", name="other")) == ""


def test_everything_is_as_before_afterwards(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    before = [*sys.meta_path]
    with folder_importable(str(tmp_path)):
        assert sys.meta_path[:-1] == before
    assert sys.meta_path == before
    assert "PYTHONSAFEPATH" not in os.environ


PROGRAM = """
import multiprocessing
import os
import sys

from seqlight.__main__ import main
from seqlight.common.user_modules import allow, folder_importable

if __name__ == "__main__":
    with folder_importable(os.getcwd()):
        allow("work")
        import work

        for method in multiprocessing.get_all_start_methods():
            process = multiprocessing.get_context(method).Process(target=work.run, args=(method,))
            process.start()
            process.join()
            assert process.exitcode == 0, method
"""


def test_processes_of_multiprocessing(tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "program.py").write_text(PROGRAM)
    (here / "work.py").write_text("import beside\n\ndef run(name):\n    open(f'ran_{name}', 'w').close()")
    (here / "beside.py").write_text("")
    for name in ("tempfile", "resource", "torch_xla", "secrets"):
        (here / f"{name}.py").write_text(f"open('executed_{name}', 'w').close()")
    subprocess.run([sys.executable, str(tmp_path / "program.py")], cwd=here, check=True, timeout=100)
    assert {path.name for path in here.glob("ran_*")} == {"ran_fork", "ran_spawn", "ran_forkserver"}
    assert [*here.glob("executed_*")] == []
