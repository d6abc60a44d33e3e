"""What a training run reads: shards by source and label set, and what became of their rows."""

from collections.abc import Iterator, Mapping
from typing import Any

from jobs.report_lineage import in_short
from jobs.report_page import Reason, Section, Table
from jobs.run_files import RunFiles
from pipeline.catalog import Catalog, RunRow
from pipeline.lineage import lineage


def input_section(catalog: Catalog, run: RunRow, files: RunFiles) -> Section | None:
    """The section of a run's page; None for one that has pinned nothing."""
    if run.snapshot_id is None:
        return None
    pinned = list(_parts(lineage(catalog, f"snapshot:{run.snapshot_id}")))
    total = sum(part["images"] for part in pinned)
    kinds = {part["label_set"] is not None for part in pinned}
    rows = tuple(
        (
            part["source"],
            "ground truth" if part["label_set"] is None else f"pseudo-labels {part['label_set']}",
            in_short(catalog.source(part["source"]).licence),
            f"{part['shards']:,}",
            f"{part['images']:,}",
            f"{part['images'] / total:.1%}" if total else "–",
        )
        for part in pinned
    )
    columns = ("Source", "Learnt", "Licence", "Shards", "Images", "Share")
    return Section(
        "input",
        "What it reads",
        text=_text(files.read_json("input.json") or {}, is_mixed=len(kinds) > 1),
        reasons=tuple(_left_out(files.read_json("input.json") or {})),
        table=Table(columns, rows, (False,) * 3 + (True,) * 3),
    )


def _parts(snapshot: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Source, label set (None: ground truth) and what is pinned of them."""
    for node in snapshot.get("from", ()):
        is_set = node["kind"] == "label-set"
        sources = [each for each in node.get("from", ()) if each["kind"] == "source"]
        for source in sources if is_set else [node]:
            yield {
                "source": str(source["name"]),
                "label_set": str(node["name"]) if is_set else None,
                "shards": source["shards"],
                "images": source["images"],
            }


def _text(tally: Mapping[str, Any], *, is_mixed: bool) -> str:
    text = "Pinned when the run began: later changes of sources and label sets are not seen."
    if is_mixed:
        text += " Shares are of the images that there are; the recipe decides how they are mixed."
    if tally.get("used"):
        text += f" Rows used until the newest checkpoint, again in each pass: {tally['used']:,}."
    return text


def _left_out(tally: Mapping[str, Any]) -> Iterator[Reason]:
    """Rows that were read and not learnt from, by reason."""
    out = {**(tally.get("skipped") or {}), **(tally.get("damaged") or {})}
    read = int(tally.get("used") or 0) + sum(out.values())
    named = [str(each) for each in tally.get("named") or ()]
    for reason, count in sorted(out.items(), key=lambda item: -item[1]):
        is_damaged = reason in (tally.get("damaged") or {})
        examples = tuple((name, "") for name in named) if is_damaged else ()
        yield Reason(str(reason), count, count / read, examples)
