"""What the key of an object says about it: the layout of the store, read backwards."""

import re
from dataclasses import dataclass

LEDGER_FILES = {
    "sources": ("source.json", "shards.jsonl", "withdrawn.json", "drops.jsonl", "pieces.jsonl"),
    "labels": ("label_set.json", "shards.jsonl"),
}
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
# What else lies beside images is not for the factory to remove.
_SHARD = "s[0-9a-f]+"
_DROPS = "[sd][0-9a-f]+"  # of a shard, or of a batch in which nothing else was left
_PATTERNS = {
    "image_shards": re.compile(rf"sources/(?P<of>{_NAME})/(?P<shard>{_SHARD})\.parquet"),
    "drops": re.compile(rf"sources/(?P<of>{_NAME})/dropped/(?P<shard>{_DROPS})\.parquet"),
    "pieces": re.compile(rf"sources/(?P<of>{_NAME})/pieces/(?P<shard>p[0-9a-f]+)\.parquet"),
    "hashes": re.compile(rf"sources/(?P<of>{_NAME})/hashes/{_NAME}/(?P<shard>{_SHARD})\.parquet"),
    "withdrawn": re.compile(rf"sources/(?P<of>{_NAME})/withdrawn/(?P<shard>{_SHARD})\.parquet"),
    "label_shards": re.compile(
        rf"labels/(?P<of>{_NAME})/(?P<shard>{_NAME})/(?:(?P<epoch>\d+)-)?{_NAME}\.parquet"
    ),
    "sky_masks": re.compile(rf"sky/(?P<of>{_NAME})/[0-9a-f]+/(?P<shard>{_SHARD})\.parquet"),
    "models": re.compile(rf"models/(?P<of>{_NAME})/.+"),
    "runs": re.compile(rf"runs/(?P<of>{_NAME})/.+"),
    "scores": re.compile(
        rf"evaluations/scores/(?P<of>{_NAME})/(?P<shard>{_SHARD})/[0-9a-f]+-[0-9a-f]+-\d+\.parquet"
    ),
    "evaluations": re.compile(r"evaluations/(?P<of>[^/]+)\.json"),
}


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a key says.

    Attributes:
        kind: ``image_shards, drops, pieces, hashes, withdrawn, label_shards, sky_masks, models,
            runs, scores, evaluations, ledger``, or ``other`` for what the factory did not write
            there.
        of: Name of the source, label set, model or run.
        shard: Id of the image shard that it is or belongs to; of drops, of their batch; of a
            piece, its own.
        epoch: Of the lease under which labels were made; None where the key does not say.
    """

    key: str
    kind: str
    of: str = ""
    shard: str = ""
    epoch: int | None = None


def describe(key: str) -> StoredObject:
    """What this key says."""
    folder, _, rest = key.partition("/")
    name, _, file = rest.partition("/")
    if file in LEDGER_FILES.get(folder, ()):
        return StoredObject(key, "ledger", name)
    for kind, pattern in _PATTERNS.items():
        if found := pattern.fullmatch(key):
            facts = found.groupdict()
            epoch = int(facts["epoch"]) if facts.get("epoch") else None
            return StoredObject(key, kind, facts["of"], facts.get("shard") or "", epoch)
    return StoredObject(key, "other", folder)
