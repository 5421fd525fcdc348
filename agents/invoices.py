"""
Tax numbers on invoices: a wrong one is found by its form and its check digit, before it is printed.

Pure, and never in the way: an invoice that looks wrong keeps its order and leaves a notice. Checked
are the Chinese unified social credit code (GB 32100-2015: 18 signs, the last one is the check) and
the form of VAT numbers of the EU. Older Chinese numbers (15 or 20 signs) have no check; a masked
one has nothing to check.
"""

import re
from typing import Final

from schemas.orders import Invoice

#: What a social credit code is written with: no I, O, S, V, Z. A sign's place is its value.
_SIGNS: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_LENGTH: Final = 18
_WEIGHTS: Final = tuple(pow(3, place, 31) for place in range(_LENGTH - 1))
_OLDER: Final = (15, 20)
#: Country prefix -> the form of what follows it. Greece writes EL.
_VAT: Final = {
    country: re.compile(form)
    for country, form in {
        "AT": r"U\d{8}", "BE": r"[01]\d{9}", "BG": r"\d{9,10}", "CY": r"\d{8}[A-Z]",
        "CZ": r"\d{8,10}", "DE": r"[1-9]\d{8}", "DK": r"\d{8}", "EE": r"\d{9}", "EL": r"\d{9}",
        "ES": r"[A-Z0-9]\d{7}[A-Z0-9]", "FI": r"\d{8}", "FR": r"[A-HJ-NP-Z0-9]{2}\d{9}",
        "HR": r"\d{11}", "HU": r"\d{8}", "IE": r"\d[A-Z0-9+*]\d{5}[A-Z]{1,2}", "IT": r"\d{11}",
        "LT": r"(\d{9}|\d{12})", "LU": r"\d{8}", "LV": r"\d{11}", "MT": r"\d{8}",
        "NL": r"[A-Z0-9+*]{12}", "PL": r"\d{10}", "PT": r"\d{9}", "RO": r"\d{2,10}",
        "SE": r"\d{12}", "SI": r"\d{8}", "SK": r"\d{10}", "XI": r"(\d{9}|\d{12}|GD\d{3}|HA\d{3})",
    }.items()
}  # fmt: skip
_BLANKS: Final = str.maketrans("", "", " -.\u3000")


def doubts(invoice: Invoice, currency: str | None) -> list[tuple[str, str]]:
    """Return what cannot be right about *invoice*: the field, and why."""
    found = []
    number = (invoice.tax_number or "").translate(_BLANKS).upper()
    if number and "*" not in number:
        why = _doubtful(number, currency)
        if why:
            found.append(("invoice.tax_number", why))
        if not (invoice.title or "").strip():
            found.append(("invoice.title", "there is a tax number and no title"))
    return found


def _doubtful(number: str, currency: str | None) -> str:
    vat = _VAT.get(number[:2])
    if vat is not None and len(number) != _LENGTH:
        return "" if vat.fullmatch(number[2:]) else f"this is no VAT number of {number[:2]}"
    if currency not in (None, "CNY"):
        return ""  # another country's: its form is not known here
    if len(number) in _OLDER and number.isascii() and number.isalnum():
        return ""
    if len(number) != _LENGTH:
        return f"{len(number)} signs; a Chinese tax number has 18, or had 15 or 20"
    values = [_SIGNS.find(sign) for sign in number]
    if min(values) < 0:
        return f"{number[values.index(-1)]!r} does not occur in a social credit code"
    return "" if values[-1] == check(number) else "its check digit is wrong"


def check(number: str) -> int:
    """Return the value that the last sign of a social credit code has to have."""
    weighed = zip(number[: _LENGTH - 1], _WEIGHTS, strict=True)
    return -sum(_SIGNS.index(sign) * weight for sign, weight in weighed) % 31
