"""Label sets and label shards, back into the catalog.

Of several attempts at a shard the newest whole one is taken: each was made under the same recipe,
and holds the labels of every image. Attempts are whole or damaged by what they say themselves:
footer, rows, samples 1:1 with the image shard. Work that is not done is planned again by the next
`factory label`.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import catalog_tables as tables
from pipeline.audit import (
    READ_ERRORS,
    Problem,
    StoredShard,
    label_problems,
    read_labels,
    read_samples,
    sample_problems,
    unreadable,
)
from pipeline.catalog_restore import KnownShard, known_shards
from pipeline.ledger import Row, label_set_key, label_shards_key, read_lines, read_object
from pipeline.lookahead import map_ahead
from pipeline.rebuilding import AHEAD, BY, READERS, Rebuilding
from pipeline.storage import Store
from pipeline.store_layout import StoredObject

_SAID = ("teacher", "teacher_sha256", "recipe", "recipe_hash", "code_version")


@dataclass(frozen=True, slots=True)
class _Labels:
    """The attempts at one shard.

    Attributes:
        attempts: The newest first.
        lines: What the ledger has of label shards, by key.
    """

    label_set: Row
    shard_id: str
    image: KnownShard | None
    attempts: Sequence[StoredObject]
    lines: Mapping[str, Row]


@dataclass(frozen=True, slots=True)
class _Choice:
    """The attempt that counts, None if none is whole, and what is wrong with newer ones."""

    labels: _Labels
    chosen: StoredShard | None
    problems: Sequence[Problem]


def rebuild_label_sets(job: Rebuilding) -> None:
    """Put label sets, label shards and their work back."""
    images = known_shards(job.connection)
    choices = map_ahead(
        lambda each: _choose(job.store, each),
        _labels(job, images),
        threads=READERS,
        ahead=AHEAD,
    )
    guessed: dict[str, None] = {}
    for choice in choices:
        job.problems += choice.problems
        with job.noting(choice.labels.attempts[0].key):
            _restore(job, choice)
        job.advance(len(choice.labels.attempts))
        # Attempts that were replaced have no line either, and none is missed.
        if choice.chosen is not None and choice.chosen.key not in choice.labels.lines:
            guessed[str(choice.labels.label_set["name"])] = None
    for name in guessed:
        job.say_unknown(f"label set {name}", "when and how fast some label shards were made")


def _labels(job: Rebuilding, images: Mapping[str, KnownShard]) -> Iterator[_Labels]:
    """Put each label set back, and hand on what there is of its shards."""
    for name in _names(job):
        objects = job.of("label_shards", name)
        label_set = _label_set(job, name, objects)
        if label_set is None:
            continue
        lines: dict[str, Row] = {}
        with job.noting(label_shards_key(name)):
            rows = read_lines(job.store, label_shards_key(name))
            lines = {str(row.get("key")): row for row in rows}
        for shard_id, attempts in _per_shard(objects, lines).items():
            image = images.get(shard_id)
            if image is not None and image.withdrawn_at is not None:
                job.skip(attempts[0].key, "its images were withdrawn")
                job.advance(len(attempts))
                continue
            yield _Labels(label_set, shard_id, images.get(shard_id), attempts, lines)


def _names(job: Rebuilding) -> list[str]:
    ledger = [item for of in job.objects.get("ledger", {}).values() for item in of]
    named = {item.of for item in ledger if item.key.startswith("labels/")}
    return sorted({*named, *job.names("label_shards")})


def _label_set(job: Rebuilding, name: str, objects: Sequence[StoredObject]) -> Row | None:
    """Put a label set back; None where nothing says what it is."""
    key, row = label_set_key(name), None
    with job.noting(key):
        row = (read_object(job.store, key) or {}).get("label_set")
    if row is None:
        row = _guess(job, name, objects)
    if row is None:
        job.problems.append(Problem("label set", f"labels/{name}", "a readable shard", "none"))
        return None
    label_set = None
    with job.noting(key):
        job.insert(tables.label_sets, {**row, "name": name}, key=key)
        label_set = {**row, "name": name}
    return label_set


def _guess(job: Rebuilding, name: str, objects: Sequence[StoredObject]) -> Row | None:
    """A label set that nobody wrote down: what the footer of its first readable shard says."""
    for item in objects:
        try:
            footer = read_labels(job.store, item.key).footer
            said: Row = {fact: footer[fact] for fact in _SAID}
            recipe = json.loads(said["recipe"])
        except (*READ_ERRORS, KeyError, ValueError):
            continue  # it is named when its turn comes
        job.say_unknown(f"label set {name}", "when it was opened")
        return said | {"recipe": recipe, "created_at": job.now}
    return None


def _per_shard(
    objects: Sequence[StoredObject], lines: Mapping[str, Row]
) -> dict[str, list[StoredObject]]:
    """Attempts by shard, the newest first; also those that the ledger has and the store lacks."""
    per_shard: dict[str, list[StoredObject]] = defaultdict(list)
    for item in objects:
        per_shard[item.shard].append(item)
    there = {item.key for item in objects}
    for key, line in lines.items():
        if key not in there:
            gone = StoredObject(
                key, "label_shards", "", str(line.get("shard_id")), line.get("epoch")
            )
            per_shard[gone.shard].append(gone)
    for attempts in per_shard.values():
        attempts.sort(key=lambda item: (item.epoch or 0, item.key), reverse=True)
    return per_shard


def _choose(store: Store, labels: _Labels) -> _Choice:
    """Read the attempts until one is whole."""
    problems: list[Problem] = []
    for attempt in labels.attempts:
        try:
            shard = read_labels(store, attempt.key)
            wrong = _problems(store, labels, shard)
        except READ_ERRORS as error:
            wrong = [unreadable(attempt.key, error)]
        if not wrong:
            return _Choice(labels, shard, problems)
        problems += wrong
    return _Choice(labels, None, problems)


def _problems(store: Store, labels: _Labels, shard: StoredShard) -> list[Problem]:
    image = labels.image
    if image is None:
        return [Problem("image shard", shard.key, labels.shard_id, "not back")]
    says = {
        "label_set": labels.label_set["name"],
        "shard_id": labels.shard_id,
        "image_shard_sha256": image.sha256,
        "teacher_sha256": labels.label_set["teacher_sha256"],
        "recipe_hash": labels.label_set["recipe_hash"],
    }
    line = labels.lines.get(shard.key, {})
    recorded = {"rows": image.rows, "sha256": line.get("sha256"), "bytes": line.get("bytes")}
    problems = label_problems(shard, recorded, says)
    return problems + sample_problems(shard, image.key, read_samples(store, image.key))


def _restore(job: Rebuilding, choice: _Choice) -> None:
    labels, image, shard = choice.labels, choice.labels.image, choice.chosen
    if image is None:
        return  # named already
    ids = {"label_set": labels.label_set["name"], "shard_id": image.shard_id}
    ids["source"] = image.source
    # Above every attempt that lies in the store: no later lease is taken for one of them.
    epoch = max(attempt.epoch or 0 for attempt in labels.attempts)
    state = "pending" if shard is None else "done"
    work = {"number": image.number, "images": image.rows, "state": state, "attempts": 0}
    key = labels.attempts[0].key
    job.insert(tables.work, ids | work | {"epoch": epoch}, key=key)
    if shard is None:
        return
    made: dict[str, Any] = {
        "forward_s": 0.0, "wall_s": 0.0, "owner": BY, "epoch": epoch, "committed_at": job.now
    }  # fmt: skip
    facts = {"key": shard.key, "rows": shard.rows, "bytes": shard.bytes, "sha256": shard.sha256}
    row = made | labels.lines.get(shard.key, {}) | ids | facts | {"labelled": shard.labelled}
    job.insert(tables.label_shards, row, key=shard.key)
    for reason, count in shard.reasons.items():
        job.insert(tables.quarantine, ids | {"reason": reason, "images": count}, key=shard.key)
