"""What a thing was made from and what was made of it, as one drawing from left to right.

Of the trees of `pipeline.lineage`, whose nested lists say the same in words. Two kinds of things
are left out, so that a round of self-training fits into the width of a page: what a snapshot holds
leads straight to the runs that have read it, and a run that has made one model is in its box.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jobs.report_graph import BOX_HEIGHT, BOX_WIDTH, Box, Graph, Thing, laid_out
from jobs.report_svg import Drawing, Mark

Node = Mapping[str, Any]
LEGEND = (("subject", "this page"), ("marked", "look at its mark"))
_COMMERCIAL = {"no": "not commercial", "conditions": "on conditions", "unknown": "terms unknown"}


def lineage_graph(behind: Node, ahead: Node) -> Drawing | None:
    """The drawing of both trees of one thing; None where nothing is behind or ahead of it.

    Args:
        behind: As `pipeline.lineage.lineage` has it.
        ahead: As `pipeline.lineage.made_from` has it.
    """
    nodes: dict[str, dict[str, Any]] = {}
    links = list(dict.fromkeys([*_walked(behind, nodes), *_walked(ahead, nodes)]))
    subject = _key(behind)
    links = _without(links, {key for key in nodes if nodes[key]["kind"] == "snapshot"})
    makers = _makers(nodes, links) - {subject}
    links = _without(links, makers)
    things = [
        _thing(key, node, subject)
        for key, node in nodes.items()
        if node["kind"] != "snapshot" and key not in makers
    ]
    return drawing(laid_out(things, links)) if len(things) > 1 else None


def drawing(graph: Graph) -> Drawing:
    """A graph as marks of a page."""
    paths = (Mark("path", {"class": "link", "d": path}) for path in graph.paths)
    links = len(graph.paths)
    count = f"{len(graph.boxes)} boxes, {links} link{'' if links == 1 else 's'}"
    return Drawing(
        title="Where it stands",
        caption=f"From left to right, what was made of what ({count}); the lists say the same.",
        width=graph.width,
        height=graph.height,
        marks=(*paths, *map(_box, graph.boxes)),
        legend=tuple(each for each in LEGEND if each[0] == "subject" or _any_marked(graph)),
        least_width=round(graph.width),
    )


def _any_marked(graph: Graph) -> bool:
    return any(box.mark for box in graph.boxes)


def _box(box: Box) -> Mark:
    size = {"width": BOX_WIDTH, "height": BOX_HEIGHT, "rx": 7}
    style = "thing" + " marked" * bool(box.mark) + " subject" * box.is_subject
    texts = [
        ("kind", 10.0, 18, box.kind),
        ("mark", BOX_WIDTH - 10, 18, box.mark),
        ("name", 10.0, 35, box.name),
        ("note", 10.0, 51, box.note),
    ]
    inside = [Mark("title", text=box.title), Mark("rect", {"x": box.x, "y": box.y, **size})]
    inside += [
        Mark(
            "text", {"class": css, "x": round(box.x + right, 1), "y": round(box.y + down, 1)}, said
        )
        for css, right, down, said in texts
        if said
    ]
    return Mark("g", {"class": style}, inside=tuple(inside))


def _walked(tree: Node, nodes: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Every link of a tree; its nodes are added, with all that is said of them anywhere."""
    stack = [tree]
    while stack:
        node = stack.pop()
        nodes.setdefault(_key(node), {}).update(node)
        for child in node.get("from", ()):
            yield _key(child), _key(node)
        for child in node.get("into", ()):
            yield _key(node), _key(child)
        stack += [*node.get("into", ()), *node.get("from", ())][::-1]


def _key(node: Node) -> str:
    parts = [node["kind"], node["name"]]
    if node["kind"] == "evaluation":  # under one protocol, of many models on many sources
        parts += [node.get("model"), node.get("source")]
    return "\0".join(map(str, parts))


def _without(links: Iterable[tuple[str, str]], gone: set[str]) -> list[tuple[str, str]]:
    """Links with some keys left out: what led to one of these leads to what it led to."""
    into: dict[str, list[str]] = {key: [] for key in gone}
    out: dict[str, list[str]] = {key: [] for key in gone}
    kept = []
    for left, right in links:
        if right in gone:
            into[right].append(left)
        if left in gone:
            out[left].append(right)
        if not {left, right} & gone:
            kept.append((left, right))
    return kept + [(left, right) for key in gone for left in into[key] for right in out[key]]


def _makers(nodes: Mapping[str, Node], links: Iterable[tuple[str, str]]) -> set[str]:
    """Runs that led to one thing, which is a model."""
    made: dict[str, list[str]] = {}
    for left, right in links:
        made.setdefault(left, []).append(nodes[right]["kind"])
    return {
        key for key, node in nodes.items() if node["kind"] == "run" and made.get(key) == ["model"]
    }


def _thing(key: str, node: Node, subject: str) -> Thing:
    named = node.get("of") if node["kind"] == "run" else None
    return Thing(
        key=key,
        kind=_kind(node),
        name=str(named or node["name"]),
        note=_note(node),
        marks=tuple(_marks(node)),
        is_subject=key == subject,
    )


def _note(node: Node) -> str:
    """The line below the name."""
    kind = node["kind"]
    if kind == "source":
        return str(node.get("licence") or "no licence given")
    if kind == "label-set":
        return f"by {node.get('teacher') or 'an unknown teacher'}"
    if kind == "model":
        return f"run {node['run_id']}" if node.get("run_id") else "from elsewhere"
    if kind == "evaluation":
        return f"on {node.get('source')}: {node.get('model')}"
    return str(node["name"])


def _kind(node: Node) -> str:
    kind = str(node["kind"])
    if kind == "run" and node.get("job"):
        return f"{node['job']} run"
    if kind == "model" and node.get("made") in ("teacher", "student", "metric"):
        return f"{node['made']} model"
    return kind.replace("-", " ")


def _marks(node: Node) -> Iterator[str]:
    """What to beware of, the worst first."""
    if node.get("withdrawn_at") is not None:
        yield "withdrawn"
    elif node.get("withdrawn_samples"):
        yield "partly withdrawn"
    if node.get("from_withdrawn"):
        yield "from withdrawn"
    if node["kind"] == "source" and node.get("commercial") in _COMMERCIAL:
        yield _COMMERCIAL[node["commercial"]]
    if node.get("state") in ("failed", "stopped"):
        yield str(node["state"])
