"""The docstrings that Python itself does not keep: the string under a member of an enum or under a constant."""

import ast
import inspect
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from types import ModuleType


def member_docs(enum: type[StrEnum]) -> dict[str, str]:
    """What each member means, by its value.

    Raises:
        LookupError: a member has no docstring.
    """
    [definition] = ast.parse(inspect.getsource(enum)).body
    assert isinstance(definition, ast.ClassDef)
    docs = _docs(definition.body)
    missing = [member.name for member in enum if member.name not in docs]
    if missing:
        raise LookupError(f"{enum.__name__} has no docstring under {', '.join(missing)}")
    return {member.value: docs[member.name] for member in enum}


def constant_docs(module: ModuleType) -> dict[str, str]:
    """What each documented string constant of a module means, by the constant's value."""
    docs = _docs(ast.parse(inspect.getsource(module)).body)
    return {value: doc for name, doc in docs.items() if isinstance(value := getattr(module, name), str)}


def _docs(body: Sequence[ast.stmt]) -> dict[str, str]:
    """The string that stands right under an assignment, by the assigned name."""
    docs = {}
    for statement, following in pairwise(body):
        match statement, following:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(doc))):
                docs[name] = inspect.cleandoc(doc)
            case _:
                continue
    return docs
