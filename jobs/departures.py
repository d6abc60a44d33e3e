"""Which actors sit on machines that have been told to go.

A cloud that takes a machine back, an autoscaler that has no more use for it and a person who wants
to replace it all say so before it goes, and Ray calls such a machine *draining*: it starts nothing
new there, and ends it as soon as nothing runs. Who hands out work can therefore let its actors
there finish what they have, and give them no more.

Ray tells it to nobody but itself: this asks what Ray Train and Ray Serve ask. A version that no
longer has it announces nothing, and a machine that goes is then like one that dies.
"""

from collections.abc import Sequence
from typing import Any


def leaving_actors(actors: Sequence[Any]) -> list[Any]:
    """Those of these actors whose machine is draining; one question where none is."""
    import ray

    try:
        from ray._private import state
    except ImportError:
        return []
    if not ray.is_initialized():
        return []
    ask = getattr(state.state, "get_draining_nodes", None)
    draining = ask() if ask is not None else {}
    return [actor for actor in actors if _node_of(actor, state) in draining] if draining else []


def _node_of(actor: Any, state: Any) -> str | None:
    """The id of the machine an actor is on; None while it is on none."""
    known: dict[str, Any] = state.actors(actor._actor_id.hex()) or {}
    node_id: str | None = known.get("Address", {}).get("NodeID")
    return node_id
