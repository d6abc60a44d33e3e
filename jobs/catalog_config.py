"""The configuration of what `factory catalog` does for a source; see `jobs.config` for the fields.

These are commands of their own, because they write: a file for others, or terms into the catalog.
"""

from dataclasses import dataclass

from jobs.config import Common, option, required


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogTermsConfig(Common):
    """What the owners of a source permit: licence, re-hosting, commercial use, whom to cite.

    A summary, not legal advice. Terms come with a preset; for other sources they are set here.
    """

    ref: str = required("Name of the source.", argument=True)
    set: str | None = option(
        "YAML file with what is to be changed: title, homepage, citation, licence, rehost and "
        "commercial (yes, conditions, no or unknown), attribution (true or false), note.",
        is_local=True,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogAttributionConfig(Common):
    """Write who is to be named, one line per image, as CSV.

    Images whose source demands it, or that have an author of their own.
    """

    ref: str = required(
        "Source, label set or model: of all images that it was made from.", argument=True
    )
    out: str = required("CSV file to write.", is_local=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogCardConfig(Common):
    """Write the card of a model: data, licences, recipe and results, for the Hugging Face Hub."""

    ref: str = required("Name of the model.", argument=True)
    out: str | None = option(
        "Markdown file to write, such as README.md beside the weights (default: print it).",
        is_local=True,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogCroissantConfig(Common):
    """Describe a source for others as Croissant metadata (MLCommons), shards with their sha256."""

    ref: str = required("Name of the source.", argument=True)
    out: str = required(
        "JSON file to write; in a folder above the shards, such as that of a local store, tools "
        "read records through it.",
        is_local=True,
    )
