"""The card of an exported label set or source, and its Croissant metadata.

Front matter as the Hugging Face Hub reads it of data sets: huggingface.co/docs/hub/datasets-cards.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from jobs.card_facts import shown
from jobs.card_front_matter import TASK, licence_fields
from jobs.card_sections import GEOMETRIES
from jobs.export_plan import ExportPlan
from jobs.licence_policy import licences_behind
from jobs.markdown import code, inline, link, table
from pipeline.croissant import data_set, parquet_file
from pipeline.export_iceberg import CATALOG, CATALOG_NAME, table_name
from pipeline.export_parts import Part
from pipeline.export_table import DEPTH, FACTS, IMAGE
from pipeline.licences import permissions

# Of what `datasets` reads as it is; where the files of a split are.
_SPLITS = {"hf": "data/*.parquet", "webdataset": "data/*.tar"}
_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M",
          10_000_000: "1M<n<10M", 100_000_000: "10M<n<100M"}  # fmt: skip
_READING = {
    "hf": """import numpy as np
from datasets import load_dataset

data = load_dataset("FOLDER", split="train")
row = data[0]
codes = np.asarray(row["depth"])""",
    "webdataset": """import json
from glob import glob
from io import BytesIO

import numpy as np
from PIL import Image
from webdataset import WebDataset

data = WebDataset(sorted(glob("FOLDER/data/*.tar")), shardshuffle=False)
sample = next(iter(data))
row = json.loads(sample["json"])
codes = np.asarray(Image.open(BytesIO(sample["depth.png"])))""",
    "png16": """import numpy as np
import pandas
from PIL import Image

data = pandas.read_csv("FOLDER/index.csv")
row = data.iloc[0]
codes = np.asarray(Image.open("FOLDER/" + row["depth_file"]))""",
    "iceberg": """from io import BytesIO

import numpy as np
from PIL import Image
from pyiceberg.catalog.sql import SqlCatalog

catalog = SqlCatalog("NAME", uri="sqlite:///FOLDER/FILE")
data = catalog.load_table("TABLE").scan().to_arrow()
row = data.slice(0, 1).to_pylist()[0]
codes = np.asarray(Image.open(BytesIO(row["depth"]["bytes"])))""",
}
_VALUES = """values = row["depth_offset"] + row["depth_scale"] * codes.astype(np.float64)
values[codes == 0] = np.nan  # no value"""


def data_card(plan: ExportPlan, parts: Sequence[Part]) -> str:
    """Markdown that says what it is, how it is read, what it is from, and under which licences."""
    lines = [
        *_what(plan, parts), "",
        *_usage(plan), "",
        *_columns(plan), "",
        *_made(plan), "",
        *_sources(plan, parts), "",
        *_left_out(plan, parts), "",
        *_licences(plan),
    ]  # fmt: skip
    return _front_matter(plan, parts) + "\n".join(lines) + "\n"


def export_croissant(plan: ExportPlan, parts: Sequence[Part]) -> dict[str, Any]:
    """Croissant metadata of the Parquet files of an export, as plain JSON; links are relative."""
    files = [
        parquet_file(part.part, file.path, rows=part.kept, bytes=file.bytes, sha256=file.sha256)
        for part in parts
        for file in part.files
    ]
    digest = sha256(json.dumps([file["sha256"] for file in files]).encode()).hexdigest()
    began = plan.label_set.created_at if plan.label_set else plan.sources[0].created_at
    cited = [str((source.terms or {}).get("citation") or "") for source in plan.sources]
    facts = {
        "name": plan.name,
        "description": f"{_sentence(plan)} {_count(parts):,} images.",
        "license": ", ".join(licences_behind(plan.behind)),
        "citeAs": "; ".join(text for text in cited if text),
        "url": ".",
        "version": f"1.0.0+{digest[:12]}",
        "datePublished": datetime.fromtimestamp(began, UTC).date().isoformat(),
    }
    columns = [(name, kind, help) for name, (kind, help) in FACTS.items()]
    images = [("image", IMAGE)] if plan.pixels else []
    return data_set(facts, files, columns, [*images, ("depth", DEPTH)])


def _front_matter(plan: ExportPlan, parts: Sequence[Part]) -> str:
    import yaml

    fields: dict[str, Any] = {
        **licence_fields(", ".join(licences_behind(plan.behind)) or None),
        "pretty_name": plan.name,
        "task_categories": [TASK],
        "size_categories": [_size(_count(parts))],
        "tags": ["monocular-depth-estimation", *(["pseudo-labels"] if plan.label_set else [])],
    }
    if files := _SPLITS.get(plan.format):
        split = {"split": "train", "path": files}
        fields["configs"] = [{"config_name": "default", "data_files": [split]}]
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=100)}---\n"


def _sentence(plan: ExportPlan) -> str:
    if plan.label_set is not None:
        return f"Pseudo-labels of depth by {plan.label_set.teacher}."
    return f"Ground truth of {plan.name}."


def _what(plan: ExportPlan, parts: Sequence[Part]) -> list[str]:
    images = "with their images" if plan.pixels else "without the images, which others may own"
    lines = [
        f"# {inline(plan.name)}",
        "",
        f"{inline(_sentence(plan))} {_count(parts):,} maps, {images}.",
    ]
    geometry = str(plan.label_set.recipe.get("geometry", "")) if plan.label_set else ""
    if geometry in GEOMETRIES:
        lines += ["", f"The maps are {GEOMETRIES[geometry]} ({code(geometry)})."]
    return [
        *lines,
        "",
        "A map has the size at which it was made, not that of its image; both show the same view. "
        "Images are the original files: EXIF orientation has to be applied, and is in the maps.",
    ]


def _usage(plan: ExportPlan) -> list[str]:
    """Python that reads a map; whoever reads it puts the folder's path for FOLDER."""
    table = ".".join(table_name(plan.kind, plan.name))
    reading = _READING[plan.format]
    for word, value in {"NAME": CATALOG_NAME, "FILE": CATALOG, "TABLE": table}.items():
        reading = reading.replace(f'"{word}"', f'"{value}"').replace(f"/{word}", f"/{value}")
    said = "A map is 16-bit PNG; code 0 is no value."
    if plan.format == "iceberg":
        said += " The catalog names the folder by its whole path: it is read where it was written."
    return ["## Reading it", "", said, "", "```python", *f"{reading}\n{_VALUES}".split("\n"), "```"]


def _columns(plan: ExportPlan) -> list[str]:
    files = {"image": IMAGE, "depth": DEPTH} if plan.format in ("hf", "iceberg") else {}
    if not plan.pixels:
        files.pop("image", None)
    rows = [(code(name), inline(help)) for name, (_, help) in FACTS.items()]
    rows += [(code(name), inline(help)) for name, help in files.items()]
    return ["## Facts of each image", "", *table(("Name", "What it is"), rows)]


def _made(plan: ExportPlan) -> list[str]:
    made = plan.label_set
    if made is None:
        return ["## Ground truth", "", "As the owners of the data set published it."]
    rows = [
        ("Label set", inline(made.name)),
        ("Teacher", inline(made.teacher)),
        ("Its sha256", code(made.teacher_sha256)),
        *((inline(key.replace("_", " ")), inline(value)) for key, value in made.recipe.items()
          if key != "teacher_sha256"),
        ("Hash of the recipe", code(made.recipe_hash)),
        ("Code that made it", code(made.code_version)),
    ]  # fmt: skip
    said = "What a model has predicted, mistakes included."
    return ["## How it was made", "", said, "", *table(("What", "Value"), rows)]


def _sources(plan: ExportPlan, parts: Sequence[Part]) -> list[str]:
    rows, cited = [], []
    for source in plan.sources:
        terms: Mapping[str, Any] = source.terms or {}
        allowed = permissions(source.terms, source.licence)
        title, home = str(terms.get("title") or source.name), str(terms.get("homepage") or "")
        count = sum(part.kept for part in parts if part.source == source.name)
        rows.append((
            inline(source.name), link(title, home), inline(source.licence or "unknown"),
            inline(allowed.commercial), inline(allowed.rehost), f"{count:,}",
        ))  # fmt: skip
        notes = [str(terms.get(key) or "") for key in ("note", "citation")]
        cited += [f"- {inline(source.name)}: {inline(text)}" for text in notes if text]
    header = ("Source", "Title", "Licence", "Commercial use", "Publishing again", "Images")
    lines = ["## Sources", "", *table(header, rows, right=1)]
    return [*lines, *(["", *cited] if cited else [])]


def _left_out(plan: ExportPlan, parts: Sequence[Part]) -> list[str]:
    counts: dict[str, int] = {}
    for part in parts:
        for reason, count in part.left_out.items():
            counts[reason] = counts.get(reason, 0) + count
    lines = ["## Left out"]
    if plan.shards_left:
        said = f"The label set was not finished: {plan.images_left:,} images had no labels yet."
        lines += ["", said]
    if counts:
        rows = [(code(reason), f"{count:,}") for reason, count in sorted(counts.items())]
        lines += ["", *table(("Reason", "Images"), rows, right=1)]
    return lines if len(lines) > 1 else [*lines, "", "Nothing."]


def _licences(plan: ExportPlan) -> list[str]:
    return ["## Licences", "", *(f"- {line}" for line in _licence_lines(plan))]


def _licence_lines(plan: ExportPlan) -> Iterator[str]:
    for origin in plan.behind:
        name = inline(shown(origin.name))
        yield f"{origin.kind} {name}: {inline(origin.licence or 'unknown')}"
    yield f"{code('attribution.csv')} names the authors of single images, where they are known."
    yield f"{code('provenance.json')} has the digest of every shard that this was made from."
    yield "A summary of what is on record, not legal advice: the owners' words count."


def _count(parts: Sequence[Part]) -> int:
    return sum(part.kept for part in parts)


def _size(count: int) -> str:
    """As the Hub names sizes."""
    return next((name for limit, name in _SIZES.items() if count < limit), "n>100M")
