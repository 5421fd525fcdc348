"""Money as it is shown: minor units with the currency's own digits, exactly."""

from streams.adapters.currencies import DIGITS


def amount(minor: int | None, currency: str | None) -> str:
    """Return *minor* units as a decimal number; in an unknown currency, as they are."""
    if minor is None:
        return ""
    digits = DIGITS.get(currency or "", 0)
    sign, whole = "-" if minor < 0 else "", str(abs(minor)).rjust(digits + 1, "0")
    return f"{sign}{whole[:-digits]}.{whole[-digits:]}" if digits else f"{sign}{whole}"
