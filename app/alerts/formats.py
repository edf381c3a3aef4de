"""Numbers as people read them, each written as Prometheus' templates write it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import isfinite, isnan

_LARGE = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
_BINARY = ("", "ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")
_SMALL = ("", "m", "u", "n", "p", "f", "a", "z", "y")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_NANOSECONDS = 2**63 - 1


def plain(value: float) -> str:
    """The shortest digits that are exactly it; with an exponent below 0.0001 and from a million on: 0.25, 1e+06."""
    if not isfinite(value):
        return _special(value)
    sign, digits, power = _decimal(value)
    if power < -4 or power >= 6:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{fraction}e{power:+03d}"
    if power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{digits}"
    whole, fraction = digits[: power + 1].ljust(power + 1, "0"), digits[power + 1 :]
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def humanize(value: float) -> str:
    """Four digits and a metric prefix: 1.235M."""
    if value == 0 or not isfinite(value):
        return _short(value)
    return _prefixed(value, _LARGE, 1000.0) if abs(value) >= 1 else _tiny(value)


def humanize_1024(value: float) -> str:
    """Four digits and a binary prefix: 1.5Gi."""
    if abs(value) <= 1 or not isfinite(value):
        return _short(value)
    return _prefixed(value, _BINARY, 1024.0)


def humanize_duration(seconds: float) -> str:
    """Days to seconds, or parts of a second: 14m 59s, 120ms."""
    if not isfinite(seconds):
        return _short(seconds)
    if seconds == 0:
        return f"{_short(seconds)}s"
    if abs(seconds) < 1:
        return f"{_tiny(seconds)}s"
    sign = "-" if seconds < 0 else ""
    whole = int(abs(seconds))
    parts = (whole // 86_400, whole // 3600 % 24, whole // 60 % 60, whole % 60)
    first = next((place for place, part in enumerate(parts) if part), 3)
    if first == 3:
        return f"{sign}{_short(abs(seconds))}s"
    return sign + " ".join(f"{part}{unit}" for part, unit in zip(parts[first:], "dhms"[first:], strict=True))


def humanize_percentage(ratio: float) -> str:
    """A ratio in percent: 0.1234567 is 12.35%."""
    return f"{_short(ratio * 100)}%"


def humanize_timestamp(seconds: float) -> str:
    """Seconds since 1970 as a time in UTC, to the millisecond; what is beyond 1677 to 2262 stays a number."""
    if not isfinite(seconds) or abs(seconds * 1e9) > _MAX_NANOSECONDS:
        return plain(seconds)
    nanoseconds = int(seconds * 1e9)
    milliseconds = abs(nanoseconds) // 1_000_000 * (1 if nanoseconds >= 0 else -1)
    at = _EPOCH + timedelta(milliseconds=milliseconds)
    fraction = f".{at.microsecond // 1000:03d}".rstrip("0").rstrip(".")
    return f"{at:%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"


def printf(flags: str, verb: str, value: float | str) -> str:
    """One verb of Go's `fmt`: f, e or g of a number, s of a text, v of either. `flags` are sign, width, precision."""
    width = flags.lstrip("+").partition(".")[0]
    if isinstance(value, str):
        return value.rjust(int(width or 0))
    if not isfinite(value):
        text = _special(value)
        return ("+" + text if isnan(value) and "+" in flags else text).rjust(int(width or 0))
    if verb == "v" or (verb == "g" and "." not in flags):
        text = plain(value)
        return ("+" + text if "+" in flags and not text.startswith("-") else text).rjust(int(width or 0))
    return f"%{flags}{verb}" % value


def _prefixed(value: float, prefixes: tuple[str, ...], base: float) -> str:
    place = 0
    while abs(value) >= base and place < len(prefixes) - 1:
        value /= base
        place += 1
    return f"{_short(value)}{prefixes[place]}"


def _tiny(value: float) -> str:
    place = 0
    while abs(value) < 1 and place < len(_SMALL) - 1:
        value *= 1000
        place += 1
    return f"{_short(value)}{_SMALL[place]}"


def _short(value: float) -> str:
    return f"{value:.4g}" if isfinite(value) else _special(value)


def _special(value: float) -> str:
    return "NaN" if isnan(value) else "+Inf" if value > 0 else "-Inf"


def _decimal(value: float) -> tuple[str, str, int]:
    """Sign, the shortest digits, and the power of ten of the first of them."""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    lead = len(whole) if whole.strip("0") else len(digits) - len(fraction)
    sign = "-" if str(value).startswith("-") else ""
    return (sign, digits.rstrip("0"), lead - 1 + int(exponent or 0)) if digits else (sign, "0", 0)
