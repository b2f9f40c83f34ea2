"""What a program asks of the API server, as a Role grants it."""

from typing import NamedTuple


class Access(NamedTuple):
    """The verbs used on one resource, in each of the namespaces served."""

    group: str
    """API group; "" is the core group."""
    resource: str
    """Plural name, with its subresource after a slash, as in a Role."""
    verbs: frozenset[str]
