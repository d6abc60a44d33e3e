"""Numbers and names as people read them."""

from datetime import UTC, datetime


def readable_duration(seconds: float) -> str:
    """For example ``41 s``, ``12 min 5 s``, ``3 h 20 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def readable_number(value: float) -> str:
    """Three digits, or all of a large one: ``0.0132``, ``41.2``, ``1,234``."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def readable_rate(done: int, seconds: float, unit: str) -> str:
    """For example ``121.9 images/s``."""
    return f"{done / seconds:,.1f} {unit}/s" if seconds > 0 else f"– {unit}/s"


def readable_bytes(count: float) -> str:
    """For example ``12.3 MB`` (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} PB"


def readable_time(seconds: float | None) -> str | None:
    """A moment in seconds since 1970 as UTC, for example ``2026-02-03 14:05:06``."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def readable_setting(value: object) -> str:
    """A setting's value in words: ``yes``, ``none``, ``a, b``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(readable_setting, value))
    return "none" if value is None else str(value)


def printable(text: str) -> str:
    """Spell control characters, which could steer a terminal; line breaks and tabs stay."""
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode()
        for each in text
    )
