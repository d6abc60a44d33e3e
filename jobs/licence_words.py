"""What licences behind a thing come to, in plain sentences, for model cards and reports alike."""

from collections.abc import Callable, Iterator, Sequence

from pipeline.licences import permits
from pipeline.origins import Origin

PERMISSIONS = {
    "yes": "yes",
    "conditions": "on conditions",
    "no": "no",
    "unknown": "nobody has said",
}
NOT_SETTLED = (
    "It was made from these. Whether the licence of images binds what was learnt from them is "
    "not settled everywhere; whoever wants to be safe keeps to all of them."
)
NO_ADVICE = "A summary of what is on record, not legal advice: the owners' words count."
_COMMERCIAL = {
    "no": "Commercial use is forbidden by the licence of {}.",
    "conditions": "Commercial use is tied to conditions by {}.",
    "unknown": "Nobody has said whether commercial use is permitted by {}.",
}


def consequences(
    origins: Sequence[Origin],
    *,
    of: str,
    stated: str | None = None,
    text: Callable[[str], str] = str,
    name: Callable[[Origin], str] = lambda origin: origin.name,
    code: Callable[[str], str] = str,
) -> Iterator[str]:
    """Sentences on what may be done with something.

    Args:
        origins: All that stands behind it.
        of: What `factory catalog attribution` knows it by; empty where it does not.
        stated: The licence that somebody has given to the thing itself.
        text: How a licence is written, for example with its marks escaped.
        name: How an origin is written.
        code: How a command is written.
    """
    for permission, sentence in _COMMERCIAL.items():
        names = [name(origin) for origin in origins if origin.commercial == permission]
        if names:
            yield sentence.format(", ".join(names))
    if all(origin.commercial == "yes" for origin in origins):
        yield "All of them permit commercial use."
    elif stated and permits(stated).commercial == "yes":
        yield f"{text(stated)}, as stated for the weights, permits more than these do."
    if any(origin.attribution for origin in origins):
        command = code(f"factory catalog attribution {of}")
        lists = f"; {command} lists them" if of else ""
        yield f"Authors of single images have to be named{lists}."


def publishing(
    origins: Sequence[Origin], *, name: Callable[[Origin], str] = lambda origin: origin.name
) -> Iterator[str]:
    """Sentences on whether images may be passed on, with labels or without."""
    said = {
        "no": "Images may not be published again by others: {}.",
        "conditions": "Images may be published again on conditions: {}.",
        "unknown": "Nobody has said whether images may be published again: {}.",
    }
    sources = [origin for origin in origins if origin.kind == "source"]
    for permission, sentence in said.items():
        names = [name(origin) for origin in sources if origin.rehost == permission]
        if names:
            yield sentence.format(", ".join(names))
    if sources and all(origin.rehost == "yes" for origin in sources):
        yield "All images may be published again."
