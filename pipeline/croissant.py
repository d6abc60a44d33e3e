"""Croissant metadata (MLCommons, version 1.0) of a source: what its shards are, for other tools.

Every shard is a FileObject with its sha256; the FileSet lists the same files by name, because tools
read records from many Parquet files only through one, from below the folder of the metadata. The
columns are the fields of one RecordSet. http://mlcommons.org/croissant/1.0
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline.catalog import SourceRow
from pipeline.licences import UNKNOWN
from pipeline.records import Role, ShardRef

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
PARQUET = "application/x-parquet"
Column = tuple[str, str, str]  # name, type, what it is
# The context that the specification asks for; tools compare it with this word for word.
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
# Column, type, what it is. A test compares them with the schema of image shards.
_COLUMNS = (
    ("sample_id", "sc:Text", "Stable id of the image, from the source and the path inside it."),
    ("sha256", "sc:Text", "Of the original bytes, hex."),
    ("path", "sc:Text", "Path inside the data set."),
    ("uri", "sc:Text", "The file, or the archive that held it."),
    ("offset", "sc:Integer", "Where its bytes start there; null where they cannot be read so."),
    ("length", "sc:Integer", "How many bytes there are."),
    ("licence", "sc:Text", "Licence of the image."),
    ("attribution", "sc:Text", "Who is to be named."),
    ("width", "sc:Integer", "Pixels, as shown after EXIF orientation."),
    ("height", "sc:Integer", "Pixels, as shown after EXIF orientation."),
    ("format", "sc:Text", "Of the encoded image, for example JPEG."),
    ("exif_orientation", "sc:Integer", "1 to 8."),
)
_TRUTH_COLUMNS = (
    ("truth_geometry", "sc:Text", "What the numbers of the ground truth are, with their unit."),
    ("truth_height", "sc:Integer", "Of the ground truth, pixels."),
    ("truth_width", "sc:Integer", "Of the ground truth, pixels."),
    ("truth_codec", "sc:Text", "How truth_map is encoded."),
    ("truth_sha256", "sc:Text", "Of the decoded ground truth, hex."),
)
_IMAGE = ("image", "The original encoded image; null for images by reference.")


def croissant(
    row: SourceRow, shards: Iterable[ShardRef], *, url_of: Callable[[str], str], digest: str
) -> dict[str, Any]:
    """The metadata as plain JSON.

    Args:
        row: The source, with its terms.
        shards: Its shards.
        url_of: Where the object of a key is, for whoever reads the metadata.
        digest: Of the shards, hex; part of the version.
    """
    terms = row.terms or {}
    files = [
        parquet_file(
            shard.shard_id,
            url_of(shard.key),
            rows=shard.rows,
            bytes=shard.bytes,
            sha256=shard.sha256,
        )
        for shard in shards
    ]
    facts = {
        "name": row.name,
        "description": _description(row),
        "license": row.licence or UNKNOWN,
        "citeAs": terms.get("citation"),
        "url": terms.get("homepage") or row.uri,
        "version": f"1.0.0+{digest[:12]}",
        "datePublished": datetime.fromtimestamp(row.created_at, UTC).date().isoformat(),
        "creditText": row.attribution,
    }
    columns = list(_COLUMNS)
    if row.role != Role.UNLABELLED:
        columns += _TRUTH_COLUMNS
    return data_set(facts, files, columns, [_IMAGE])


def data_set(
    facts: Mapping[str, Any],
    files: Sequence[Mapping[str, Any]],
    columns: Iterable[Column],
    images: Iterable[tuple[str, str]],
) -> dict[str, Any]:
    """The metadata of any data set of Parquet files that all have the same columns.

    Args:
        facts: As schema.org names them; those without a value are left out.
        files: Of `parquet_file`.
        columns: Plain ones: name, type, description.
        images: Structs ``{bytes, path}``: name, description.
    """
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        **{key: value for key, value in facts.items() if value},
        "distribution": [*files, _all_of([file["contentUrl"] for file in files])],
        "recordSet": [_records(columns, images)],
    }


def parquet_file(name: str, url: str, *, rows: int, bytes: int, sha256: str) -> dict[str, Any]:
    """One file of a data set."""
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": f"{name}.parquet",
        "description": f"{rows} images.",
        "contentUrl": url,
        "contentSize": f"{bytes} B",
        "encodingFormat": PARQUET,
        "sha256": sha256,
    }


def _description(row: SourceRow) -> str:
    """What it is in two sentences, and the note on its terms."""
    terms = row.terms or {}
    title = terms.get("title") or row.name
    images = f"{title}: {row.images:,} images ({row.role}) in {row.shards:,} Parquet shards."
    return " ".join(part for part in (images, terms.get("note")) if part)


def _all_of(files: list[str]) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": "shards",
        "description": "All shards.",
        "encodingFormat": PARQUET,
        "includes": files,
    }


def _records(columns: Iterable[Column], images: Iterable[tuple[str, str]]) -> dict[str, Any]:
    fields = [_field(*column) for column in columns]
    for name, description in images:
        field = _field(name, "sc:ImageObject", description)
        field["source"]["transform"] = {"jsonPath": "bytes"}  # the column is a struct
        fields.append(field)
    return {
        "@type": "cr:RecordSet",
        "@id": "images",
        "description": "One record per image.",
        "key": {"@id": "images/sample_id"},
        "field": fields,
    }


def _field(name: str, kind: str, description: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"images/{name}",
        "description": description,
        "dataType": kind,
        "source": {"fileSet": {"@id": "shards"}, "extract": {"column": name}},
    }
