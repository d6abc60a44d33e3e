"""Doctor: the process in which one part of the checks runs, and what it may be asked to look at.

Each part has a process of its own because each may hang where no exception reaches it: a library in
C that waits for a GPU, a network file system that is gone, a name that nobody resolves.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from jobs.doctor_checks import Check
from jobs.doctor_config import DoctorConfig

# Each by name, because some take seconds to be imported, and may fail at that.
PROBES = {
    "software": "jobs.doctor_software:software_checks",
    "machine": "jobs.doctor_machine:machine_checks",
    "devices": "jobs.doctor_devices:device_checks",
    "Ray": "jobs.doctor_ray:ray_checks",
    "store": "jobs.doctor_store:store_checks",
    "catalog": "jobs.doctor_catalog:catalog_checks",
}


def main() -> None:
    """Look at one part: its name and the settings come by stdin, the checks go to stdout.

    Settings hold passwords, and arguments are there for all users of a machine to read.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was begun is taken back
    os.environ.setdefault("AWS_MAX_ATTEMPTS", "2")  # the reason must come before the deadline
    stdout = os.dup(1)
    os.dup2(2, 1)  # what libraries say is no answer
    asked = json.load(sys.stdin)
    checks = _probe(asked["probe"])(DoctorConfig(**asked["config"]))
    with os.fdopen(stdout, "w", encoding="utf-8") as answer:
        json.dump([check.as_dict() for check in checks], answer)


def _probe(name: str) -> Callable[[DoctorConfig], list[Check]]:
    module, _, function = PROBES[name].partition(":")
    found: Any = getattr(import_module(module), function)
    return found  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
