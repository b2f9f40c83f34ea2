"""Kubernetes quantities: "500m" CPUs, "2Gi" bytes."""

from decimal import Decimal
from typing import Final

_SUFFIXES: Final = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
    "Ei": Decimal(2) ** 60,
}


def amount(quantity: int | str) -> Decimal:
    """The number that a quantity stands for, in its plain unit (CPUs, bytes).

    Raises:
        ValueError: it is none. The API server refuses such a job, so none of its quantities is.
    """
    text = str(quantity)
    number = text.rstrip("numkMGTPEi")
    try:
        return Decimal(number) * _SUFFIXES[text[len(number) :]]
    except (ArithmeticError, KeyError):
        raise ValueError(f"expected a quantity such as 500m or 2Gi, found {text!r}") from None
