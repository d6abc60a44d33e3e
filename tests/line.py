"""Pieces of the line that several integration tests start from."""

from typing import Any

from jobs.config import IngestConfig
from jobs.ingest import ingest


def ingest_rendered(source: str, *, n: int, seed: int, role: str, **options: Any) -> dict[str, Any]:
    """A small rendered source."""
    uri = f"synthetic://clutter?n={n}&seed={seed}&width=64&height=48"
    return ingest(IngestConfig(uri=uri, source=source, role=role, **options))
