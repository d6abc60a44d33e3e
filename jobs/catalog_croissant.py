"""`factory catalog croissant`: a source described for tools that read Croissant (MLCommons)."""

import json
from pathlib import Path
from typing import Any

from jobs.catalog_config import CatalogCroissantConfig
from jobs.console import Reporter
from jobs.errors import ConfigError
from jobs.files import written_whole
from jobs.workspace import check_store_exists, open_workspace
from pipeline.catalog_sources import shards_digest
from pipeline.croissant import croissant
from pipeline.storage import Store


def export_croissant(
    config: CatalogCroissantConfig, *, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Write the JSON file.

    Links are relative where the file lies above the shards, so that all may be moved together.

    Raises:
        CatalogMissingError: No source has that name.
        ConfigError: It has no images, or the file cannot be written.
    """
    reporter = reporter or Reporter.silent()
    check_store_exists(config)
    with open_workspace(config) as workspace:
        row = workspace.catalog.source(config.ref)
        shards = workspace.catalog.image_shards(config.ref)
        if not shards:
            raise ConfigError([f"source {row.name} has no images: there is nothing to describe"])
        folder = Path(config.out).expanduser().resolve().parent
        store = workspace.store
    urls = {shard.key: _url(store, shard.key, folder) for shard in shards}
    digest = shards_digest((shard.shard_id, shard.sha256) for shard in shards)
    metadata = croissant(row, shards, url_of=urls.__getitem__, digest=digest)
    with written_whole(config.out) as scratch:
        scratch.write_text(json.dumps(metadata, ensure_ascii=False, indent=1), encoding="utf-8")
    if any(url.startswith("/") or "://" in url for url in urls.values()):
        reporter.note(
            "from here tools know where the shards are, and cannot read records; for that the file "
            f"has to lie in a folder above them, such as {store.uri}"
        )
    return {
        "source": row.name,
        "out": config.out,
        "images": row.images,
        "shards": len(shards),
        "licence": row.licence,
        "version": metadata["version"],
    }


def _url(store: Store, key: str, folder: Path) -> str:
    """Relative where the object lies below the folder; else its whole path or URL."""
    path = store.local_path(key)
    if path is None:
        return f"{store.uri}/{key}"
    path = path.resolve()
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()
