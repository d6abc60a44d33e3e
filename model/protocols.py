"""Evaluation protocols as data: what is compared, where, and after which alignment.

A number without its protocol means little: the same network scores .066 or .214 on DIODE depending
on masks and caps. So protocols have names and versions, a result carries its protocol's fields, and
a protocol never changes: what is done differently gets a new version. The fields are those of
`model.protocol_fields`, the values stand in `model.protocol_rows`.
"""

from model.protocol_fields import METRIC_NAMES, SPACES, Alignment, Crop, Protocol, Upsampling
from model.protocol_rows import PROTOCOL_ROWS

__all__ = [
    "METRIC_NAMES",
    "PROTOCOLS",
    "SPACES",
    "Alignment",
    "Crop",
    "Protocol",
    "Upsampling",
    "protocol",
]

PROTOCOLS: tuple[Protocol, ...] = PROTOCOL_ROWS


def protocol(ref: str) -> Protocol:
    """The protocol called ``name@version``, or the newest version of ``name``.

    Raises:
        ValueError: With the protocols that exist.
    """
    found = [known for known in PROTOCOLS if ref in (known.name, known.ref)]
    if not found:
        existing = ", ".join(sorted(known.ref for known in PROTOCOLS))
        raise ValueError(f"unknown protocol {ref!r}; there are: {existing}")
    return max(found, key=lambda known: known.version)
