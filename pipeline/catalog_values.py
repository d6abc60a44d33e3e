"""What may be stored: plain JSON and text that every database takes, without credentials.

Error texts and paths come from hostile files, configurations come from people's shells: a NUL byte
or half a surrogate must not stop a commit, and a password must not reach a row or a message.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

# A database password may hold anything but @, also a slash; elsewhere a slash ends the host.
# The looks behind and the {0,64} keep the time linear in the length of a text.
_DATABASE_PASSWORD = re.compile(
    r"(?i)(?<![a-z0-9])((?:postgres|mysql|mariadb)[a-z0-9+]*://[^\s/@:]*):[^\s@]*@"
)
_PASSWORD = re.compile(r"(?i)(?<![a-z0-9+.-])([a-z][a-z0-9+.-]*://[^\s/@:?#]*):[^\s/?#]*@")
_WEB_TOKEN = re.compile(r"(?i)(https?://)(?![^\s/@:]*:\*\*\*@)[^\s/@?#]+@")
_QUERY = re.compile(
    r"(?i)([?&;](?:[^=&;?\s]{0,64}(?:password|secret|token|signature|credential|access_?key|api_?key)"
    r"[^=&;?\s]{0,64}|sig)=)[^&;\s#]*"
)
_SECRET_NAME = re.compile(
    r"(?i)(?:^|[_-])(?:password|passwd|secret|token|credentials?|api_?key|(?:secret_?)?access_?key)$"
)


def without_credentials(text: str) -> str:
    """The text with ``***`` for the passwords and tokens of the URLs inside it."""
    text = _DATABASE_PASSWORD.sub(r"\1:***@", text)
    text = _PASSWORD.sub(r"\1:***@", text)
    text = _WEB_TOKEN.sub(r"\1***@", text)
    return _QUERY.sub(r"\1***", text)


def storable_text(text: str, *, limit: int | None = None) -> str:
    """The text as valid UTF-8 without NUL bytes and credentials, cut to ``limit`` characters."""
    text = text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
    return without_credentials(text)[:limit]


def storable(value: Any) -> Any:
    """The value as JSON: numbers that JSON does not know become null, other objects their text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {storable_text(str(key)): _storable_item(str(key), value[key]) for key in value}
    if isinstance(value, list | tuple | set | frozenset):
        return [storable(item) for item in (sorted(value) if isinstance(value, set) else value)]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a numpy scalar
        return storable(value.item())
    return storable_text(str(value))


def _storable_item(key: str, value: Any) -> Any:
    if isinstance(value, str) and _SECRET_NAME.search(key):
        return "***"
    return storable(value)


def counts(per_reason: Mapping[str, int]) -> dict[str, int]:
    """Positive counts only, under reasons that can be stored."""
    return {storable_text(reason): int(n) for reason, n in per_reason.items() if n}


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """One ``key: old → new`` for each key whose value differs, nested keys joined by dots."""
    found: list[str] = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key}: {before!r} → {after!r}")
    return found
