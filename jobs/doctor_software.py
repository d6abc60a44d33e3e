"""Doctor: Python, packages and their bounds, optional extras, the version of this code.

Only what is installed says what is needed: the metadata of the package, not a pyproject.toml that
happens to lie beside it.
"""

import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from jobs.config import Common
from jobs.doctor_checks import OK, PROBLEM, WARNING, Check
from jobs.version import code_version

PACKAGE = "pseudo-label-factory"
FOR_DEVELOPERS = "dev"
# What an extra is for; a test compares with pyproject.toml.
EXTRAS = {
    "postgres": "a catalog in PostgreSQL",
    "s3": "a store on S3",
    "demo": "photographs for the demo",
    "sources": "data sets in video, HDF5, EXR, 7z",
    "export": "ONNX models",
    "iceberg": "label sets as Iceberg tables",
    "docs": "the documentation as a site",
    "wandb": "logging to Weights & Biases",
    "mlflow": "logging to MLflow",
}


@dataclass(frozen=True, slots=True)
class Need:
    """A package that is wanted.

    Attributes:
        bounds: For example ``>=2.0``; may be empty.
        extra: Of which it is a part; empty for what is always needed.
        installed: The version that is there; None where it is not.
    """

    name: str
    bounds: str
    extra: str
    installed: str | None

    @property
    def is_met(self) -> bool:
        """Whether a version within the bounds is installed."""
        if self.installed is None:
            return False
        return SpecifierSet(self.bounds).contains(self.installed, prereleases=True)

    def in_words(self) -> str:
        """For example ``torch 2.5.0 (needs >=2.6)``."""
        return f"{self.name} {self.installed or 'missing'} (needs {self.bounds or 'any version'})"


def software_checks(config: Common) -> list[Check]:
    """Python, packages, extras and the version of the code."""
    try:
        requirements = [Requirement(each) for each in requires(PACKAGE) or []]
        python_bounds = metadata(PACKAGE)["Requires-Python"] or ""
    except PackageNotFoundError:
        return [Check("packages", PROBLEM, f"{PACKAGE} is not installed", "pip install -e .")]
    needs = [need for each in requirements for need in _needs(each)]
    return [
        judge_python(platform.python_version(), bounds=python_bounds, where=sys.prefix),
        judge_packages(needs),
        judge_extras(needs, wanted=wanted_extras(config)),
        Check("code", OK, code_version()),
    ]


def judge_python(found: str, *, bounds: str, where: str) -> Check:
    """Whether the interpreter is one that the package allows."""
    if SpecifierSet(bounds).contains(found, prereleases=True):
        return Check("Python", OK, f"{found} in {where}")
    advice = f"make an environment with Python {bounds}, and install the package there"
    return Check("Python", PROBLEM, f"{found} in {where}, and {bounds} is needed", advice)


def judge_packages(needs: Iterable[Need]) -> Check:
    """Whether what is always needed is there."""
    always = [need for need in needs if not need.extra]
    wrong = [need for need in always if not need.is_met]
    if not wrong:
        return Check("packages", OK, f"{len(always)}, all within their bounds")
    found = ", ".join(need.in_words() for need in wrong)
    return Check("packages", PROBLEM, found, _install(*wrong))


def judge_extras(needs: Iterable[Need], *, wanted: Sequence[str]) -> Check:
    """Which extras are missing: a problem only where store or catalog need one.

    Args:
        needs: Of all packages.
        wanted: Extras without which the configuration cannot work.
    """
    optional = [need for need in needs if need.extra and need.extra != FOR_DEVELOPERS]
    extras = list(dict.fromkeys(need.extra for need in optional))
    missing = [
        extra
        for extra in extras
        if any(need.extra == extra and need.installed is None for need in optional)
    ]
    old = [need for need in optional if need.installed is not None and not need.is_met]
    here = [extra for extra in extras if extra not in missing]
    found = f"{', '.join(here) or 'none'} here"
    if missing:
        found += "; missing: " + ", ".join(map(_with_purpose, missing))
    if old:
        found += "; too old or too new: " + ", ".join(need.in_words() for need in old)
    if needed := [extra for extra in wanted if extra in missing]:
        return Check("extras", PROBLEM, found, install_extras(needed))
    if old:
        return Check("extras", WARNING, found, _install(*old))
    return Check("extras", OK, found, install_extras(["NAME"]) if missing else "")


def wanted_extras(config: Common) -> list[str]:
    """Extras without which nothing works with this store and this catalog."""
    wanted = ["s3"] if config.store.startswith(("s3://", "s3a://")) else []
    return [*wanted, *(["postgres"] if (config.catalog or "").startswith("postgres") else [])]


def install_extras(extras: Sequence[str]) -> str:
    """The command that installs extras."""
    return f"pip install '{PACKAGE}[{','.join(extras)}]'"


def _with_purpose(extra: str) -> str:
    return f"{extra} (for {EXTRAS[extra]})" if extra in EXTRAS else extra


def _install(*needs: Need) -> str:
    return "pip install " + " ".join(f"'{need.name}{need.bounds}'" for need in needs)


def _needs(requirement: Requirement) -> list[Need]:
    """Of one line of the metadata, for this machine: none where its marker says so."""
    found: Any = _installed(requirement.name)
    bounds = str(requirement.specifier)
    if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
        return [Need(requirement.name, bounds, "", found)]
    extras = [*EXTRAS, *(metadata(PACKAGE).get_all("Provides-Extra") or [])]
    return [
        Need(requirement.name, bounds, extra, found)
        for extra in dict.fromkeys(extras)
        if requirement.marker.evaluate({"extra": extra})
    ]


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
