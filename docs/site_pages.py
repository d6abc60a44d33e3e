"""Pages of the site that stand at the root of the repository: their links are turned to fit.

A hook of MkDocs, named in mkdocs.yml. A copy in docs/ would be one fact in two places.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "infra.md": "infra/README.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root."""
    root = Path(config.config_file_path).parent
    for name, source in PAGES.items():
        text = from_docs((root / source).read_text(encoding="utf-8"))
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links from docs/ to the pages of the root."""
    for name, source in PAGES.items():
        markdown = markdown.replace(f"](../{source}", f"]({name}")
    return markdown


def from_docs(text: str) -> str:
    """The Markdown of a page at the root, as it has to be within docs/."""
    text = re.sub(r"\]\((?:\.\./)?docs/", "](", text)
    for name, source in PAGES.items():
        text = text.replace(f"]({source}", f"]({name}")
    return text
