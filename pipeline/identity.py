"""Names and content-derived ids.

An id never depends on order, rank or time: work that is done again, or in another order, or on
another machine, gets the same ids, which is what makes every step safe to run twice.
"""

import hashlib
import re
from collections.abc import Iterable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_name(name: str) -> str:
    """The name itself, if it can be a folder of the store on every system.

    Raises:
        ValueError: It is empty or too long, does not begin with a letter or digit, or has anything
            but letters, digits, ``.``, ``_`` and ``-``: no name can climb out of its folder.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name: use up to 128 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit"
        )
    return name


def sample_id(source: str, path: str) -> str:
    """32 hex digits from the source's name and the member's path inside it."""
    text = f"{source}\0{path}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def shard_id(samples: Iterable[tuple[str, ...]]) -> str:
    """``s`` and 20 hex digits from what the rows are, in their order.

    Args:
        samples: One tuple per row: its sample id, the sha256 of its bytes, and the digest of its
            ground truth where it has one. 80 bits: 62,000 shards collide with probability 2e-15.
    """
    digest = hashlib.sha256()
    for row in samples:
        digest.update("\0".join(row).encode("utf-8", "surrogatepass") + b"\n")
    return f"s{digest.hexdigest()[:20]}"


def drops_id(drops: Iterable[tuple[str, ...]]) -> str:
    """``d`` and 20 hex digits from what was refused, for a batch without a shard beside it."""
    return f"d{shard_id(drops)[1:]}"


def sha256_hex(data: bytes | memoryview) -> str:
    """64 hex digits."""
    return hashlib.sha256(data).hexdigest()
