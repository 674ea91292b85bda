"""Flags in place of the Python arguments that messages name.

Only the command line names flags. Other packages write a remedy as a Python argument in backticks, as in
"if these are tokens: `inputs="tokens"`", and the command line prints `--data.inputs tokens` instead.
"""

import ast
import inspect
import json
import re
import shlex
import sys
from collections.abc import Collection

from seqlight.common.description import subclasses

# Users' data can look like an argument too: a folder `seed=3`, a column `inputs=tokens`. The backticks tell them apart.
# A cell that has backticks itself is shown with quotes around them, so a backtick next to a quote does not count.
_ARGUMENT = re.compile(r"(?<![^\s(])`(\w+)=([^`\n]{1,80})`(?![^\s).,:;])")
# The beginning of flags, and the class whose arguments they are.
_BASES = (
    ("data", "seqlight.data.datamodule", "SequenceDataModule"),
    ("model", "seqlight.training.classifier", "SequenceClassifier"),
)


def name_flags(message: str, prefix: str, names: Collection[str]) -> str:
    """Replace each argument in backticks by its flag: `inputs="tokens"` becomes --data.inputs tokens.

    Args:
        message: any text.
        prefix: what the flags begin with: "data" or "model".
        names: the arguments that have a flag. Others stay, and so do values that are not Python literals.
    """

    def flag(argument: re.Match[str]) -> str:
        name, text = argument.groups()
        if name not in names:
            return argument[0]
        try:
            value = ast.literal_eval(text)
            value = value if isinstance(value, str) else json.dumps(value)
        except (SyntaxError, TypeError, ValueError):
            return argument[0]
        return f"--{prefix}.{name} {shlex.quote(value)}"

    return _ARGUMENT.sub(flag, message)


def with_flags(message: str) -> str:
    """A message of any package for users of the command line.

    The flags are those of all data modules and models that have been imported. A name that both have, as
    `class_weights`, becomes the data's flag, since the model's argument follows from the data.
    """
    if not _ARGUMENT.search(message):
        return message
    for prefix, module, base in _BASES:
        if module not in sys.modules:  # then there is no such message; `seqlight cells` starts without Lightning
            continue
        cls = getattr(sys.modules[module], base)
        names = {name for each in subclasses(cls) for name in inspect.signature(each).parameters}
        message = name_flags(message, prefix, names)
    return message
