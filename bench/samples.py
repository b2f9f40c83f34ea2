"""What a server of ours tells at /metrics. Pure."""

import re
from collections.abc import Mapping
from typing import Self

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Samples:
    """Samples of one moment, or what they have grown by between two."""

    def __init__(self, values: Mapping[tuple[str, frozenset[tuple[str, str]]], float]) -> None:
        self._values = values

    @classmethod
    def parse(cls, text: str) -> Self:
        """The samples in a text of Prometheus's format."""
        found = _SAMPLE.findall(text)
        return cls({(name, frozenset(_LABEL.findall(labels))): float(value) for name, labels, value in found})

    def __getitem__(self, name: str) -> float:
        return self.sum(name)

    def sum(self, name: str, **labels: str) -> float:
        """The sum of all samples of a name with these labels; 0 when there is none."""
        wanted = set(labels.items())
        return sum(value for (each, has), value in self._values.items() if each == name and wanted <= has)

    def __sub__(self, before: "Samples") -> "Samples":
        return Samples({key: value - before._values.get(key, 0.0) for key, value in self._values.items()})
