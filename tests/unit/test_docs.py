"""What README.md and docs/*.md say can be done: commands parse, code imports, links lead on."""

import ast
import importlib
import re
import shlex
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import typer
import yaml

from jobs.cli import build_app
from jobs.errors import ConfigError
from jobs.settings import load_settings
from tests.doc_blocks import commands_in, fenced

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
NAMES = [page.name for page in PAGES]
FROM_ELSEWHERE = {"index.md", "contributing.md", "changelog.md", "infra.md"}  # not in docs/
# Written where a reader puts something else: what is left out, or what stands in for a value.
ELLIPSIS = "…"
PLACEHOLDERS = {"REF": "r", "FOLDER": "folder", "NAME": "name", "SOME_FILES": "files"}
# Words that stand for any verb or flag, in sentences.
FORMS = {"VERB", "SET", "MODEL", "PRESET", "URI", "SOURCE", "DIR"}


EVERY = [(page.name, words) for page in PAGES for words in commands_in(page.read_text("utf-8"))]


def test_commands_are_found():
    """A page whose commands nobody finds would pass everything below."""
    found = {name for name, _ in EVERY}
    assert found >= {"README.md", "tutorial.md", "scale.md", "operations.md", "licences.md"}
    assert len(EVERY) > 100
    assert list(
        commands_in("```sh\n. x && factory label a \\\n  --teacher 'b c' # why\n```\n")
    ) == [["label", "a", "--teacher", "b c"]]
    assert list(commands_in("so:\n\n    factory catalog gc --dry-run | head\n")) == [
        ["catalog", "gc", "--dry-run"]
    ]


def test_what_is_wrong_is_noticed():
    for wrong in (
        "label a",
        "label a --teacher b --actor 2",
        "ingest a --source b --role c",
        "lable",
    ):
        with pytest.raises((ConfigError, typer.TyperException)):
            check(wrong.split())


@pytest.mark.parametrize(("name", "words"), EVERY, ids=[f"{n}: {' '.join(w)}" for n, w in EVERY])
def test_every_command_parses(name, words):
    check(words)


def check(words):
    """Parse as the console script does, and read the configuration."""
    calls = []
    given = [PLACEHOLDERS.get(word, word) for word in words if word != ELLIPSIS]
    build_app(calls.append)(given, prog_name="factory", standalone_mode=False)
    if not calls:
        assert set(given) & {"--help", "--version", "--install-completion"}, given
        return
    verb, flags = calls[0].verb, calls[0].flags
    try:
        load_settings(verb.config_class, flags=flags, file=None, environ={}, also=verb.also)
    except ConfigError as error:
        wrong = [each for each in error.problems if "is missing" not in each]
        if wrong or ELLIPSIS not in words:
            raise


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_verbs_and_flags_in_sentences_exist(page):
    """``factory label --consistency`` in the middle of a sentence names what there is."""
    from typer.main import get_command

    group = get_command(build_app(lambda call: None))
    known = {flag for verb in walk(group) for each in verb.params for flag in names_of(each)}
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    for span in re.findall(r"`(?:\.venv/bin/)?factory ([^`]+)`", text):
        words = [each for each in shlex.split(span) if each not in FORMS | {ELLIPSIS}]
        command = group
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        assert command is not group or not words or words[0].startswith("-"), span
        own = {flag for each in command.params for flag in names_of(each)} | {"--help"}
        flags = {each.partition("=")[0] for each in words if each.startswith("--")}
        assert flags <= (own if command is not group else known | own), span


def walk(command):
    yield command
    for each in getattr(command, "commands", {}).values():
        yield from walk(each)


def names_of(parameter):
    return [*parameter.opts, *parameter.secondary_opts]


PYTHON = [
    pytest.param(block, id=f"{page.name}: {block.splitlines()[0]}")
    for page in PAGES
    for language, block in fenced(page.read_text("utf-8"))
    if language == "python"
]
# Of the reader's environment, or made on the page.
NOT_OURS = {"mlcroissant", "coremltools", "webdataset", "datasets", "pyiceberg"}
MADE_ON_THE_PAGE = {("model.losses", "curvature_matching")}


@pytest.mark.parametrize("block", PYTHON)
def test_python_compiles_and_its_imports_exist(block):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] not in NOT_OURS:
                    importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] not in NOT_OURS:
            module = importlib.import_module(node.module)
            for alias in node.names:
                if (node.module, alias.name) not in MADE_ON_THE_PAGE:
                    assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """All of it, built as `make site` does: strictly, so that a dead link or anchor ends it."""
    pytest.importorskip("material", reason="no mkdocs here: pip install '.[docs]'")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    before = sys.path[:]
    try:
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder)))
    finally:
        monkeypatch.undo()
        sys.path[:] = before
    return folder


class Page(HTMLParser):
    """Anchors of a page, where it leads, and what a browser would fetch for it."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.fetched = set(), [], []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids |= {given["id"]} if given.get("id") else set()
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.fetched.append(given["href"])
        elif given.get("src"):
            self.fetched.append(given["src"])


def test_every_link_and_anchor_of_the_site_leads_somewhere(site):
    pages = {path: Page(path) for path in site.glob("*.html") if path.name != "404.html"}
    assert len(pages) == len(list((ROOT / "docs").glob("*.md"))) + len(FROM_ELSEWHERE)
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme in ("https", "http", "mailto"), (path.name, link)
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = site / "index.html" if target == site else target
            assert target.is_file(), (path.name, link)
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].ids, (path.name, link)


def test_nothing_of_the_site_comes_from_elsewhere(site):
    for path in site.glob("*.html"):
        for address in Page(path).fetched:
            assert not urlsplit(address).scheme and not address.startswith("//"), (path, address)
    styles = [path.read_text("utf-8") for path in site.rglob("*.css")]
    assert not [found for text in styles for found in re.findall(r"url\((https?:[^)]*)", text)]
    assert (site / "search" / "search_index.js").is_file()  # to search without a server


def test_every_page_is_in_the_navigation():
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_multi_constructor("", lambda *_: None)  # the slugs, which are a function
    settings = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), Loader=loader)
    named = {
        page
        for part in settings["nav"]
        for pages in part.values()
        for e in pages
        for page in e.values()
    }
    written = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert named == written | FROM_ELSEWHERE


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *(ROOT / "docs").glob("*.md")], ids=lambda p: p.name
)
def test_links_of_the_repository_lead_to_files(page):
    """As they are shown by a code host, where README.md stands beside docs/."""
    made = {"index.md", "contributing.md", "changelog.md"}
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if "://" not in link:
            assert link not in made
            assert (page.parent / link).exists(), link
