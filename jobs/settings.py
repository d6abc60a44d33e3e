"""One configuration from flags, a YAML file, the environment and defaults, in that order.

Every problem is reported at once, each with where it stands (the flag, the file and key, or the
environment variable), so that nobody has to correct a file one error at a time.
"""

import difflib
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from jobs.errors import ConfigError
from pipeline.catalog_values import without_credentials
from pipeline.identity import check_name

ConfigT = TypeVar("ConfigT")
MANY_CHOICES = 20  # nobody reads a longer list for one letter that was wrong


@dataclass(frozen=True, slots=True)
class _Given:
    """A value as somebody wrote it, and where."""

    value: Any
    where: str


def load_settings(
    config_class: type[ConfigT],
    *,
    flags: Mapping[str, Any],
    file: Path | None,
    environ: Mapping[str, str],
    also: type | None = None,
    note: Callable[[str], object] = lambda text: None,
) -> ConfigT:
    """Build a configuration; flags win over the file, the file over the environment.

    Args:
        config_class: One of the dataclasses of `jobs.config`.
        flags: By field name; None and () mean that the flag was not given. Text is converted.
        file: YAML, one flat mapping from field names (with ``-`` or ``_``) to values.
        environ: Environment variables; an empty one counts as not set.
        also: Another such class, whose settings may stand in the file too; they are checked.
        note: Told which of those were there, because they do nothing.

    Raises:
        ConfigError: With all problems: unknown keys, wrong types, bad choices, what is missing.
    """
    problems: list[str] = []
    given = _from_environment(config_class, environ)
    unused: dict[str, _Given] = {}
    if file is not None:
        written = _from_file([config_class, *([also] if also else [])], file, problems)
        own = {each.name for each in fields(config_class)}  # type: ignore[arg-type]
        given |= {name: value for name, value in written.items() if name in own}
        unused = {name: value for name, value in written.items() if name not in own}
    given |= _from_flags(config_class, flags)
    kinds = typing.get_type_hints(config_class)
    values: dict[str, Any] = {}
    for each in fields(config_class):  # type: ignore[arg-type]
        if each.name in given:
            _take(each, kinds[each.name], given[each.name], values, problems)
        elif is_required(each):
            problems.append(f"{flag_name(each)} is missing: {each.metadata['help']}")
    if also is not None:
        _check_unused(also, unused, problems)
    if problems:
        raise ConfigError(problems)
    if unused:
        note(f"{file}: not used here: {', '.join(unused)}")
    return config_class(**values)


def resolved(config: object) -> dict[str, Any]:
    """Every setting as it was used, for writing beside what was made; credentials are masked."""
    return {
        each.name: _masked_value(getattr(config, each.name))
        for each in fields(config)  # type: ignore[arg-type]
    }


def value_problems(config: object) -> list[str]:
    """What is wrong with single values, for callers in Python, whom no command line has checked."""
    problems = []
    for each in fields(config):  # type: ignore[arg-type]
        value = getattr(config, each.name)
        if value is None:
            continue
        try:
            _check(each, value)
        except ValueError as error:
            problems.append(f"{flag_name(each)}: {error}")
    return problems


def flag_name(of: Field[Any]) -> str:
    """How people write it: ``--gpus-per-actor``, or ``SOURCES`` for an argument."""
    if of.metadata.get("argument"):
        return of.name.upper()
    return f"--{of.name.replace('_', '-')}"


def is_list(kind: Any) -> bool:
    """Whether a field holds several values."""
    return typing.get_origin(kind) is tuple


def is_required(of: Field[Any]) -> bool:
    """Whether a field has no default."""
    return of.default is MISSING and of.default_factory is MISSING


def plain_type(kind: Any) -> type:
    """``float`` for ``float | None``, ``str`` for ``tuple[str, ...]``."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        (kind,) = (each for each in typing.get_args(kind) if each is not type(None))
    if is_list(kind):
        kind = typing.get_args(kind)[0]
    return typing.cast(type, kind)


def _from_environment(config_class: type, environ: Mapping[str, str]) -> dict[str, _Given]:
    return {
        each.name: _Given(environ[name], f"environment variable {name}")
        for each in fields(config_class)
        if (name := each.metadata.get("env")) and environ.get(name)
    }


def _from_flags(config_class: type, flags: Mapping[str, Any]) -> dict[str, _Given]:
    return {
        each.name: _Given(flags[each.name], flag_name(each))
        for each in fields(config_class)
        if flags.get(each.name) not in (None, (), [])
    }


def _from_file(config_classes: list[type], file: Path, problems: list[str]) -> dict[str, _Given]:
    known = [each.name for config_class in config_classes for each in fields(config_class)]
    given: dict[str, _Given] = {}
    for key, value in _yaml_items(file, problems):
        name = str(key).replace("-", "_")
        if name not in known:
            problems.append(f"{file}: unknown key {str(key)!r}{_did_you_mean(name, known)}")
        elif name in given:
            problems.append(f"{file}: {key} stands there twice")
        else:
            given[name] = _Given(value, f"{file}: {key}")
    return given


def _yaml_items(file: Path, problems: list[str]) -> Iterator[tuple[Any, Any]]:
    """Keys and values in order, repeated keys too, which `yaml.safe_load` would hide."""
    import yaml  # takes a quarter of the time in which `factory --help` must answer

    try:
        loader = yaml.SafeLoader(file.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is None:
            return
        if not isinstance(node, yaml.MappingNode):
            problems.append(f"{file}: expected one mapping of settings, such as `name: value`")
            return
        for key, value in node.value:
            yield (
                loader.construct_object(key, deep=True),
                loader.construct_object(value, deep=True),
            )
    except OSError as error:
        problems.append(f"{file}: cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        problems.append(f"{file}: is not UTF-8 text: {error}")
    except yaml.YAMLError as error:
        problems.append(f"{file}: is not YAML: {' '.join(str(error).split())}")


def _check_unused(config_class: type, unused: Mapping[str, _Given], problems: list[str]) -> None:
    kinds = typing.get_type_hints(config_class)
    for each in fields(config_class):
        if each.name in unused:
            _take(each, kinds[each.name], unused[each.name], {}, problems)


def _take(
    of: Field[Any], kind: Any, given: _Given, values: dict[str, Any], problems: list[str]
) -> None:
    """Put one value into ``values``, or say what is wrong with it."""
    try:
        value = _convert(given.value, kind)
        if value is not None:
            _check(of, value)
    except ValueError as error:
        problems.append(f"{given.where}: {error}")
    else:
        values[of.name] = value


def _check(of: Field[Any], value: Any) -> None:
    choices: tuple[str, ...] = of.metadata.get("choices", ())
    for each in value if isinstance(value, tuple) else (value,):
        if choices and str(each) not in choices:
            hint = _did_you_mean(str(each), choices)
            listed = "the choices" if hint and len(choices) > MANY_CHOICES else ", ".join(choices)
            raise ValueError(f"{each!r} is not one of {listed}{hint}")
    minimum, maximum = of.metadata.get("minimum"), of.metadata.get("maximum")
    for each in value if isinstance(value, tuple) else (value,):
        if minimum is not None and each < minimum:
            raise ValueError(f"must be at least {minimum}, got {each}")
        if maximum is not None and each > maximum:
            raise ValueError(f"must be at most {maximum}, got {each}")
    if of.metadata.get("is_name"):
        check_name(value)
    if of.metadata.get("is_local") and "://" in value:
        raise ValueError(f"{value!r} is no path of this machine, and only there can it be written")


def _convert(value: Any, kind: Any) -> Any:
    """Make it the type the field declares; ValueError says what was expected."""
    if value is None:
        if type(None) in typing.get_args(kind):
            return None
        raise ValueError("needs a value, got nothing")
    plain = plain_type(kind)
    if is_list(kind):
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_scalar(item, plain) for item in items)
    return _scalar(value, plain)


def _scalar(value: Any, kind: type) -> Any:
    if kind is str:
        if not isinstance(value, str):
            raise ValueError(f"expected text, got {value!r} (in YAML, put it in quotes)")
        return value
    if kind is bool:
        return _boolean(value)
    expected = {int: "a whole number", float: "a number"}[kind]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"expected {expected}, got {value!r}")
    if kind is int and isinstance(value, float) and not value.is_integer():
        raise ValueError(f"expected {expected}, got {value!r}")
    try:
        number = kind(value)  # YAML reads 5e-6 as text: numbers written as text are numbers
    except (ValueError, OverflowError):
        raise ValueError(f"expected {expected}, got {value!r}") from None
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError(f"expected {expected}, got {value!r}")
    return number


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    spelt = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if isinstance(value, str) and value.lower() in spelt:
        return spelt[value.lower()]
    raise ValueError(f"expected true or false, got {value!r}")


def _masked_value(value: Any) -> Any:
    if isinstance(value, str):
        return without_credentials(value)
    return [_masked_value(item) for item in value] if isinstance(value, tuple) else value


def _did_you_mean(name: str, known: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
