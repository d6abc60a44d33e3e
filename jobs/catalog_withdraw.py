"""`factory catalog withdraw`: a source or samples that must not be used any more.

Nothing is removed before it is known what must be made again: the summary names label sets that
lost labels, models that have learnt from the images, and what came of those.
"""

from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from jobs.console import Reporter
from jobs.errors import ConfigError
from jobs.sample_config import CatalogWithdrawConfig
from jobs.withdrawals import LEASE_S, Withdrawal, heartbeat, held_source, search, withdraw_samples
from jobs.workspace import Workspace, check_store_exists, open_workspace
from pipeline.catalog import Amount
from pipeline.catalog_withdrawn import labels_at_stake
from pipeline.errors import SourceError
from pipeline.identity import sample_id
from pipeline.ledger import record_label_set, record_source
from pipeline.lineage import nodes
from pipeline.lineage_withdrawn import made_of_withdrawn
from pipeline.sample_lists import SampleRef, parse_sample, read_sample_list
from pipeline.sample_search import FoundSample, Wanted
from pipeline.withdrawn import WITHDRAWN, WithdrawnSamples, put_withdrawn_source, withdrawn_samples

NEXT = (
    "label again what is still wanted, then train again; `factory catalog gc` removes the images, "
    "but not previews in runs and pages already written; `factory catalog trace SHA256` finds the "
    "same bytes in other sources and under other names"
)


def withdraw(config: CatalogWithdrawConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Withdraw; safe to run again, also after it was killed.

    Returns:
        ``samples`` and ``shards`` that count no more; ``labels_lost``: per label set the label
        shards and images; ``models_to_remake``, ``label_sets_to_remake`` and ``evaluations``: what
        was made with the images, from first to last; ``problems``: samples that are not there.

    Raises:
        ConfigError: No sample where some were asked for.
        CatalogMissingError: No source has that name.
        CatalogConflictError: Somebody ingests into it.
        WithdrawnError: All of it was withdrawn before.
    """
    reporter = reporter or Reporter.silent()
    wanted = _wanted(config)
    check_store_exists(config)
    with open_workspace(config) as workspace:
        if wanted is None:
            return _withdraw_source(config, workspace)
        return _withdraw_samples(config, wanted, workspace, reporter)


def _wanted(config: CatalogWithdrawConfig) -> list[SampleRef] | None:
    """The samples; None for the whole source."""
    if not config.reason.strip():
        raise ConfigError(["--reason is empty: say why, it is all that others will know"])
    if not config.sample and config.samples is None:
        return None
    try:
        listed = [] if config.samples is None else read_sample_list(config.samples)
        return list(dict.fromkeys([*map(parse_sample, config.sample), *listed]))
    except (SourceError, ValueError) as error:
        raise ConfigError([f"--sample: {error}"]) from error


def _withdraw_source(config: CatalogWithdrawConfig, workspace: Workspace) -> dict[str, Any]:
    store, catalog = workspace.store, workspace.catalog
    source = catalog.source(config.source)
    counts = {"samples": source.images, "shards": source.shards, "shards_replaced": 0}
    lost = labels_at_stake(catalog, config.source)
    if not config.dry_run:
        if source.withdrawn_at is not None:  # a run that was killed has not written it down
            record_source(store, catalog, config.source)
        with held_source(workspace, config.source, {"withdraw": config.reason}) as lease:
            samples = source.images
            put_withdrawn_source(store, config.source, reason=config.reason, samples=samples)
            lost = catalog.withdraw_source(lease, reason=config.reason, ttl_s=LEASE_S)
        record_source(store, catalog, config.source)
        for label_set in lost:
            record_label_set(store, catalog, label_set)
    return _summary(config, counts, lost) | _to_remake(workspace, config.source, None)


def _withdraw_samples(
    config: CatalogWithdrawConfig,
    refs: list[SampleRef],
    workspace: Workspace,
    reporter: Reporter,
) -> dict[str, Any]:
    source, store, catalog = config.source, workspace.store, workspace.catalog
    ids = {_id_of(source, ref): ref for ref in refs if ref.kind != "sha256"}
    images = {ref.value: ref for ref in refs if ref.kind == "sha256"}
    wanted = Wanted(frozenset(ids), frozenset(images))
    facts = {"withdraw": config.reason, "samples": len(refs)}
    with nullcontext() if config.dry_run else held_source(workspace, source, facts) as lease:
        if lease is None:
            found = list(search(workspace, source, wanted, reporter))
            done = _foreseen(workspace, source, found)
        else:
            beat = heartbeat(workspace, lease)
            found = list(search(workspace, source, wanted, reporter, beat))
            done = withdraw_samples(
                workspace,
                source,
                {sample.sample_id: (WITHDRAWN, config.reason) for sample in found},
                reason=config.reason,
                shards=list(dict.fromkeys(sample.shard for sample in found)),
                lease=lease,
                reporter=reporter,
            )
    known = withdrawn_samples(store, catalog.withdrawn_objects(source))
    met = {name for sample in found for name in (sample.sample_id, sample.sha256)}
    absent = [ref for name, ref in (ids | images).items() if name not in met]
    missing = [ref for ref in absent if not _is_known(known, source, ref)]
    counts = {
        "samples": done.samples,
        "already_withdrawn": len(absent) - len(missing),
        "shards": len(done.shards),
        "shards_replaced": done.replaced,
    }
    problems = [{"sample": str(ref), "problem": f"not in source {source}"} for ref in missing]
    summary = _summary(config, counts, done.label_sets)
    return summary | _to_remake(workspace, source, list(done.shards)) | {"problems": problems}


def _foreseen(workspace: Workspace, source: str, found: list[FoundSample]) -> Withdrawal:
    """What would be done."""
    per_shard = Counter(sample.shard for sample in found)
    shards = {shard.shard_id: count for shard, count in per_shard.items()}
    replaced = sum(count < shard.rows for shard, count in per_shard.items())
    lost = labels_at_stake(workspace.catalog, source, list(shards))
    return Withdrawal(source, shards, replaced, lost)


def _is_known(known: WithdrawnSamples, source: str, ref: SampleRef) -> bool:
    """Whether it was withdrawn before."""
    if ref.kind == "sha256":
        return bytes.fromhex(ref.value)[:16] in known.images
    sample = bytes.fromhex(_id_of(source, ref))
    return any(sample in ids for ids in known.ids.values())


def _id_of(source: str, ref: SampleRef) -> str:
    return sample_id(source, ref.value) if ref.kind == "path" else ref.value


def _summary(
    config: CatalogWithdrawConfig, counts: Mapping[str, int], lost: Mapping[str, Amount]
) -> dict[str, Any]:
    labels = [
        {"label_set": name, "shards": amount.shards, "images": amount.images}
        for name, amount in sorted(lost.items())
    ]
    return {
        "source": config.source,
        "reason": config.reason,
        "dry_run": config.dry_run,
        **counts,
        "labels_lost": labels,
    }


def _to_remake(workspace: Workspace, source: str, shard_ids: list[str] | None) -> dict[str, Any]:
    made = list(nodes(made_of_withdrawn(workspace.catalog, source, shard_ids)))
    of_kind = {
        kind: [str(node["name"]) for node in made if node["kind"] == kind]
        for kind in ("model", "label-set", "evaluation")
    }
    return {
        "models_to_remake": of_kind["model"],
        "label_sets_to_remake": of_kind["label-set"],
        "evaluations": len(of_kind["evaluation"]),
        "next": NEXT,
    }
