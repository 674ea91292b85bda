"""The functions of a module that have no test of their name."""


def functions_without_test(module, tests):
    """The names of the module's functions and classes without `test_<name>` among `tests`."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    return [name for name in own if f"test_{name}" not in tests and not name.startswith("_")]
