"""Writes what is generated from the code: `python docs/generate.py`. With --check it only says what is out of date."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import chart
import reference
import reliability

ROOT = Path(__file__).parent.parent
GENERATED: Mapping[str, Callable[[], str]] = {
    "charts/agentjob/templates/crd.yaml": chart.crd_template,
    "charts/agentjob/values.yaml": chart.values_yaml,
    "docs/openapi.json": reference.openapi_json,
    "docs/reference.md": reference.page,
    "docs/reliability.md": reliability.page,
}
"""What makes the text of each generated file, by its path from the root."""


def outdated(root: Path) -> list[str]:
    """The generated files below `root` that are missing or are not what the code says."""
    return [name for name, text in GENERATED.items() if _read(root / name) != text()]


def write(root: Path) -> None:
    """Writes all generated files below `root`."""
    for name, text in GENERATED.items():
        (root / name).write_text(text())


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def main() -> int:
    """Writes or checks; exit code 1 when something is out of date."""
    parser = argparse.ArgumentParser(description="Write the generated files.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a file is out of date")
    if not parser.parse_args().check:
        write(ROOT)
        return 0
    stale = outdated(ROOT)
    for name in stale:
        print(f"{name} is out of date: run `make generate` and commit it", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
