"""Models, the training runs that made them, and how they scored."""

from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from sqlalchemy import Connection, select, update

from pipeline.catalog_database import Database, insert_if_absent
from pipeline.catalog_rows import EvaluationRow, ModelRow, RunRow
from pipeline.catalog_sources import require_names
from pipeline.catalog_tables import database_now, evaluations, models, runs, snapshots
from pipeline.catalog_values import differences, storable, storable_text
from pipeline.errors import CatalogConflictError, CatalogMissingError
from pipeline.identity import check_name

_MODEL_FACTS = ("sha256", "family", "geometry", "kind")
_RUN_COLUMNS = [column for column in runs.c if column.name != "number"]
_EVALUATION_COLUMNS = [column for column in evaluations.c if column.name != "number"]


def register_model(
    database: Database,
    name: str,
    *,
    sha256: str,
    family: str,
    geometry: str,
    kind: str,
    key: str | None = None,
    uri: str | None = None,
    run_id: str | None = None,
    licence: str | None = None,
) -> ModelRow:
    """Give a model a name, for good: the same weights again change nothing.

    It lies in a folder of the store (``key``) or elsewhere (``uri``), one of the two; ``run_id`` is
    the training run that made it.

    Raises:
        CatalogConflictError: The name has other weights, family, geometry or kind.
        CatalogMissingError: No run has that id.
    """
    check_name(name)
    if (key is None) == (uri is None):
        msg = f"model {name!r} needs either a key inside the store or a URI"
        raise ValueError(msg)
    given = {"sha256": sha256, "family": family, "geometry": str(geometry), "kind": kind}
    place = {"key": key, "uri": None if uri is None else storable_text(uri)}
    facts = given | place | {"licence": licence, "run_id": run_id}
    if run_id is not None:
        run(database, run_id)
    with database.write() as connection:
        if not insert_if_absent(connection, models, name=name, created_at=database_now(), **facts):
            _check_same(connection, name, given)
    return model(database, name)


def _check_same(connection: Connection, name: str, given: Mapping[str, str]) -> None:
    columns = [models.c[fact] for fact in _MODEL_FACTS]
    known = connection.execute(select(*columns).where(models.c.name == name)).one()._asdict()
    if changed := differences(known, given):
        msg = f"model {name!r} is already in the catalog with another {'; '.join(changed)}"
        raise CatalogConflictError(msg)


def model(database: Database, name: str) -> ModelRow:
    """One model.

    Raises:
        CatalogMissingError: No model has that name.
    """
    with database.read() as connection:
        require_names(connection, models, [name], what="model")
        row = connection.execute(select(models).where(models.c.name == name)).one()
    return ModelRow(**row._asdict())


def list_models(database: Database) -> list[ModelRow]:
    """All models in the order of their registration."""
    with database.read() as connection:
        rows = connection.execute(select(models).order_by(models.c.created_at, models.c.name))
        return [ModelRow(**row._asdict()) for row in rows]


def find_model(database: Database, sha256: str) -> ModelRow | None:
    """The model with these weights; the first registered where several names have them."""
    same = select(models).where(models.c.sha256 == sha256)
    with database.read() as connection:
        rows = connection.execute(same.order_by(models.c.created_at, models.c.name).limit(1))
        row = rows.one_or_none()
    return None if row is None else ModelRow(**row._asdict())


def begin_run(
    database: Database,
    kind: str,
    *,
    name: str,
    config: Mapping[str, Any],
    code_version: str,
    snapshot_id: str | None = None,
) -> str:
    """Record that a training run begins; returns its id.

    Raises:
        CatalogMissingError: No snapshot has that id.
    """
    run_id = f"{kind}-{token_hex(6)}"
    values = {"run_id": run_id, "kind": kind, "name": name, "config": storable(config)}
    with database.write() as connection:
        if snapshot_id is not None:
            _require_snapshot(connection, snapshot_id)
        row = runs.insert().values(
            **values,
            state="running",
            snapshot_id=snapshot_id,
            code_version=code_version,
            metrics={},
            started_at=database_now(),
        )
        connection.execute(row)
    return run_id


def _require_snapshot(connection: Connection, snapshot_id: str) -> None:
    known = select(snapshots).where(snapshots.c.snapshot_id == snapshot_id)
    if connection.execute(known).first() is None:
        msg = f"no snapshot has the id {snapshot_id!r}"
        raise CatalogMissingError(msg)


def resume_run(database: Database, run_id: str) -> None:
    """Record that a run that had ended goes on from its checkpoint.

    Raises:
        CatalogMissingError: No run has that id.
    """
    _update_run(database, run_id, state="running", finished_at=None)


def finish_run(database: Database, run_id: str, *, state: str, metrics: Mapping[str, Any]) -> None:
    """Record how a run ended: ``done``, ``failed`` or ``stopped``.

    Raises:
        CatalogMissingError: No run has that id.
    """
    values = {"state": state, "metrics": storable(metrics), "finished_at": database_now()}
    _update_run(database, run_id, **values)


def _update_run(database: Database, run_id: str, **values: Any) -> None:
    with database.write() as connection:
        changed = connection.execute(update(runs).filter_by(run_id=run_id).values(values))
        if changed.rowcount == 0:
            raise CatalogMissingError(_no_run(run_id))


def run(database: Database, run_id: str) -> RunRow:
    """One run by its id.

    Raises:
        CatalogMissingError: No run has that id.
    """
    with database.read() as connection:
        one = select(*_RUN_COLUMNS).where(runs.c.run_id == run_id)
        row = connection.execute(one).one_or_none()
    if row is None:
        raise CatalogMissingError(_no_run(run_id))
    return RunRow(**row._asdict())


def _no_run(run_id: str) -> str:
    return f"no run has the id {run_id!r}"


def list_runs(database: Database, *, name: str | None = None) -> list[RunRow]:
    """All runs, or those with one name, oldest first."""
    found = select(*_RUN_COLUMNS).order_by(runs.c.number)
    if name is not None:
        found = found.where(runs.c.name == name)
    with database.read() as connection:
        return [RunRow(**row._asdict()) for row in connection.execute(found)]


def newest_run(database: Database, name: str, *, kind: str | None = None) -> RunRow | None:
    """The run with that name that began last."""
    found = [row for row in list_runs(database, name=name) if kind in {None, row.kind}]
    return found[-1] if found else None


def record_evaluation(
    database: Database,
    *,
    model: str,
    model_sha256: str,
    protocol: str,
    version: str | int,
    source: str,
    source_digest: str,
    images: int,
    valid_pixels: int,
    metrics: Mapping[str, float | None],
    config: Mapping[str, Any],
    code_version: str,
) -> int:
    """Keep a result beside the earlier ones; numbers that are not finite become null.

    Returns:
        Its number in the catalog.
    """
    values = {
        "model": storable_text(model),
        "model_sha256": model_sha256,
        "protocol": protocol,
        "version": str(version),
        "source": source,
        "source_digest": source_digest,
        "images": int(images),
        "valid_pixels": int(valid_pixels),
        "metrics": storable(metrics),
        "config": storable(config),
        "code_version": code_version,
        "created_at": database_now(),
    }
    with database.write() as connection:
        new = evaluations.insert().values(values).returning(evaluations.c.number)
        return int(connection.execute(new).scalar_one())


def list_evaluations(database: Database, model: str | None = None) -> list[EvaluationRow]:
    """All results, or those of the model with that name, oldest first."""
    found = select(*_EVALUATION_COLUMNS).order_by(evaluations.c.number)
    if model is not None:
        found = found.where(evaluations.c.model == storable_text(model))
    with database.read() as connection:
        return [EvaluationRow(**row._asdict()) for row in connection.execute(found)]
