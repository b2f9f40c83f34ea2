"""Label selectors: `key`, `!key`, `key=value`, `key!=value`, joined by commas."""

from collections.abc import Mapping


def matches(selector: str, labels: Mapping[str, str]) -> bool:
    return all(_term(term.strip(), labels) for term in selector.split(",") if term.strip())


def _term(term: str, labels: Mapping[str, str]) -> bool:
    if "!=" in term:
        key, value = term.split("!=", 1)
        return labels.get(key) != value
    if "=" in term:
        key, value = term.replace("==", "=").split("=", 1)
        return labels.get(key) == value
    return term.removeprefix("!") in labels if not term.startswith("!") else term[1:] not in labels
