"""The servers' metrics, read from the calls that define them: prometheus_client keeps a label's name to itself."""

import ast
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

KINDS = {
    "Counter": "counter",
    "CounterMetricFamily": "counter",
    "Gauge": "gauge",
    "GaugeMetricFamily": "gauge",
    "Histogram": "histogram",
    "HistogramMetricFamily": "histogram",
}


class Measure(NamedTuple):
    """One metric."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


def measures(module: ModuleType) -> list[Measure]:
    """All metrics that a module defines, by name."""
    return sorted(_defined(ast.parse(inspect.getsource(module))))


def _defined(tree: ast.AST) -> Iterator[Measure]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Name(id=kind), args=[ast.Constant(value=str(name)), ast.Constant(value=str(meaning)), *rest]
            ) if kind in KINDS:
                yield Measure(name, KINDS[kind], _labels([*rest, *(given.value for given in node.keywords)]), meaning)
            case _:
                continue


def _labels(arguments: list[ast.expr]) -> tuple[str, ...]:
    """The one list of words among the arguments; a list of buckets is a tuple."""
    lists = [ast.literal_eval(argument) for argument in arguments if isinstance(argument, ast.List)]
    return tuple(word for words in lists for word in words)
