"""What stands in the code blocks of a Markdown page, and the commands in them."""

import re
import shlex
from pathlib import Path


def fenced(text):
    """Language and content of every code block, those that are indented by four spaces too."""
    pattern = r"^( *)```(\w*)\n(.*?)^\1```$|((?:^ {4}\S.*\n(?:^ {4}.*\n|^\n(?= {4}))*))"
    for block in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        if block[4] is None:
            yield block[2], block[3]
        else:
            yield "", re.sub(r"^ {4}", "", block[4], flags=re.MULTILINE)


def commands_in(text):
    """Every ``factory …`` of the shell blocks, as words; continuation lines are joined."""
    for language, block in fenced(text):
        if language in ("", "sh", "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                if "factory" in line:
                    yield from of_line(line)


def of_line(line):
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""  # else it takes the rest of FILE.pth#v2-s for one
    found = None
    for word in lexer:
        if word.startswith("#"):
            break
        if set(word) <= set("|&;<>()") and word:
            if found:
                yield found
            found = None
        elif found is not None:
            found.append(word)
        elif Path(word).name == "factory" and "=" not in word:
            found = []
    if found is not None:
        yield found
