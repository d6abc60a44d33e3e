"""Weights & Biases and MLflow: places that follow training runs, for teams that have one.

Both libraries are optional. The numbers are copies of what lies in the run's own folder, so a
server that does not answer costs its copy and a warning, never the run.
"""

import importlib.util
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from jobs.errors import ConfigError
from jobs.training_log import titled
from pipeline.catalog_values import without_credentials

EXPERIMENT = "pseudo-label-factory"
SEND_INTERVAL_S = 10.0
MOST_WAITING = 100_000  # numbers kept while the server does not answer
_PACKAGES = {"wandb": "wandb", "mlflow": "mlflow-skinny"}
_DATABASE = "sqlite:///"
_WANDB_HOST = "api.wandb.ai"  # where keys of its public service were kept by all versions
_WANDB_KEYS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")

log = logging.getLogger(__name__)


def check_trackers(*, wandb: str | None, mlflow: str | None, is_local: bool = True) -> None:
    """Look, before anything starts, whether what is asked for can be done.

    Args:
        wandb: The project.
        mlflow: The URI.
        is_local: Whether the workers run on this machine; others may have keys of their own.

    Raises:
        ConfigError: A library is not installed, W&B has no key, or MLflow cannot use that URI.
    """
    asked = [name for name, value in (("wandb", wandb), ("mlflow", mlflow)) if value]
    problems = [
        f"--{name} needs the package {_PACKAGES[name]}, which is not installed: "
        f"pip install 'pseudo-label-factory[{name}]'"
        for name in asked
        if importlib.util.find_spec(name) is None
    ]
    if not problems and wandb and is_local:
        problems += _wandb_problems(wandb)
    if not problems and mlflow:
        problems = _mlflow_problems(mlflow)
    if problems:
        raise ConfigError(problems)


def absolute_mlflow(uri: str | None) -> str | None:
    """The URI with the path of a local database made absolute: workers run in other folders."""
    if uri is None or not uri.startswith(_DATABASE) or uri.startswith(f"{_DATABASE}/"):
        return uri
    return f"{_DATABASE}{Path(uri.removeprefix(_DATABASE)).absolute()}"


class WandbLog:
    """A run of a Weights & Biases project, of the same id as ours.

    What an earlier attempt sent is not sent again: W&B takes no step twice. Sending happens in a
    process of W&B's own, which keeps what cannot be sent. ``WANDB_MODE=offline`` and all its other
    variables do what they say; what is then written lies below ``folder``, for ``wandb sync``, or
    in ``WANDB_DIR``, which has to be named where the store is remote: a worker's own folder goes.

    Raises:
        ConfigError: W&B takes no run: no key, or no such project.
    """

    def __init__(
        self, project: str, *, run_id: str, name: str, config: Mapping[str, Any], folder: Path
    ) -> None:
        import wandb

        self._image = wandb.Image
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._run = wandb.init(
                project=project,
                id=run_id,
                name=name,
                resume="allow",
                config=dict(config),
                dir=os.environ.get("WANDB_DIR", str(folder)),
                settings=wandb.Settings(console="off"),
            )
        except wandb.Error as error:
            raise ConfigError([f"--wandb {project}: {error}"]) from error
        self._next = int(self._run.step)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Numbers of a step, under their titles."""
        if step >= self._next:
            self._run.log({titled(key): value for key, value in metrics.items()}, step=step)

    def image(self, step: int, name: str, picture_HWC: NDArray[np.uint8]) -> None:
        """A picture of a step."""
        if step >= self._next:
            self._run.log({name: self._image(picture_HWC)}, step=step)

    def flush(self) -> None:
        """W&B sends by itself."""

    def close(self, *, failed: bool = False) -> None:
        """Send the rest, and say how the run ended."""
        self._run.finish(exit_code=int(failed))


class MlflowLog:
    """A run of an MLflow server or database, tagged with our run's id.

    Numbers are sent by a thread, every 10 s and at checkpoints, one sending at a time. A tag says
    up to which step they are there, so that a run taken up again sends none twice.

    Raises:
        ConfigError: MLflow cannot use that URI.
    """

    def __init__(
        self, uri: str, *, run_id: str, name: str, config: Mapping[str, Any], folder: Path | None
    ) -> None:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self._failures = (MlflowException, OSError)
        try:
            self._client = MlflowClient(tracking_uri=uri)
            self._run, self._sent = self._open(run_id, name, config, folder)
        except self._failures as error:
            raise ConfigError([_mlflow_problem(uri, error)]) from error
        self._waiting: list[tuple[int, int, str, float]] = []  # step, ms, name, value
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mlflow")
        self._sending: Future[None] | None = None
        self._started_s = time.monotonic()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Numbers of a step, under their titles."""
        if step <= self._sent:
            return
        now_ms = int(time.time() * 1000)
        self._waiting += [(step, now_ms, titled(key), value) for key, value in metrics.items()]
        if time.monotonic() - self._started_s > SEND_INTERVAL_S:
            self.flush()

    def image(self, step: int, name: str, picture_HWC: NDArray[np.uint8]) -> None:
        """A picture of a step."""
        if step > self._sent:
            self._thread.submit(
                self._tried,
                lambda: self._client.log_image(self._run, picture_HWC, key=name, step=step),
            )

    def flush(self) -> None:
        """Begin to send what waits, unless the sending before is still going on."""
        if not self._waiting or (self._sending is not None and not self._sending.done()):
            del self._waiting[:-MOST_WAITING]
            return
        batch, self._waiting = self._waiting, []
        self._started_s = time.monotonic()
        self._sending = self._thread.submit(self._tried, lambda: self._send(batch))

    def close(self, *, failed: bool = False) -> None:
        """Send the rest, and say how the run ended."""
        if self._sending is not None:
            self._sending.result()
        self.flush()
        status = "FAILED" if failed else "FINISHED"
        self._thread.submit(
            self._tried, lambda: self._client.set_terminated(self._run, status=status)
        )
        self._thread.shutdown(wait=True)

    def _send(self, batch: Sequence[tuple[int, int, str, float]]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(name, value, ms, step) for step, ms, name, value in batch]
        for start in range(0, len(metrics), 1000):  # as many as a server takes at once
            self._client.log_batch(self._run, metrics=metrics[start : start + 1000])
        self._client.set_tag(self._run, "factory.step", str(batch[-1][0]))

    def _tried(self, send: Callable[[], None]) -> None:
        try:
            send()
        except self._failures as error:
            log.warning("MLflow took no metrics: %s", without_credentials(str(error)))

    def _open(
        self, run_id: str, name: str, config: Mapping[str, Any], folder: Path | None
    ) -> tuple[str, int]:
        """MLflow's id of the run, new or taken up again, and the step up to which it has all."""
        from mlflow.entities import Param

        client, tag = self._client, "factory.run_id"
        experiment = client.get_experiment_by_name(EXPERIMENT)
        number = (
            client.create_experiment(
                EXPERIMENT, artifact_location=None if folder is None else folder.as_uri()
            )
            if experiment is None
            else experiment.experiment_id
        )
        found = client.search_runs([number], f"tags.`{tag}` = '{run_id}'", max_results=1)
        if found:
            client.update_run(found[0].info.run_id, status="RUNNING")
            return found[0].info.run_id, int(found[0].data.tags.get("factory.step", 0))
        run = client.create_run(number, tags={tag: run_id}, run_name=name)
        params = [Param(key, str(value)) for key, value in config.items()]
        client.log_batch(run.info.run_id, params=params[:100])  # as many as a server takes at once
        return run.info.run_id, 0


def artefact_folder(uri: str) -> Path | None:
    """Where the pictures of a local database go: beside it; a server has a place of its own."""
    if not uri.startswith(_DATABASE):
        return None
    return Path(uri.removeprefix(_DATABASE)).absolute().parent / "mlartifacts"


def _wandb_problems(project: str) -> list[str]:
    """Whether there is a key where W&B looks for one; its server is not asked."""
    import wandb

    settings = wandb.setup().settings
    if settings.mode != "online" or any(os.environ.get(name) for name in _WANDB_KEYS):
        return []
    hosts = {urlsplit(settings.base_url).hostname or "", _WANDB_HOST}
    places = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    files = [file for place in places if (file := Path(place).expanduser()).is_file()]
    try:
        if any(netrc(str(file)).hosts.keys() & hosts for file in files):
            return []
    except (OSError, NetrcParseError) as error:
        return [f"--wandb {project}: the key cannot be read: {error}"]
    return [
        f"--wandb {project}: no key for {settings.base_url}: run `wandb login`, set "
        "WANDB_API_KEY, or WANDB_MODE=offline to write beside the run alone"
    ]


def _mlflow_problems(uri: str) -> list[str]:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    patience = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    before = os.environ.get(patience)
    os.environ[patience] = "1"  # MLflow would try for four minutes to reach a server that is off
    try:
        MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    except (MlflowException, OSError) as error:
        return [_mlflow_problem(uri, error)]
    finally:
        del os.environ[patience]
        if before is not None:
            os.environ[patience] = before
    return []


def _mlflow_problem(uri: str, error: Exception) -> str:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"--mlflow {without_credentials(uri)}: {without_credentials(first)}"
