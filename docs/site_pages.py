"""Makes the pages of the site: those of docs/, and those that stand elsewhere in the repository.

MkDocs calls it (mkdocs.yml). On the pages, links are written for readers of the
repository; here they become links between pages, or plain text where what they lead to
is no page and no `repo_url` is set.
"""

from __future__ import annotations

import os.path
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OTHERS = {
    'README.md': 'index.md',
    'checkpoints/README.md': 'checkpoints.md',
    'CHANGELOG.md': 'changelog.md',
    'CONTRIBUTING.md': 'contributing.md',
    'SECURITY.md': 'security.md',
}
"""Pages that do not stand in docs/, and what they are called on the site."""

LINK = re.compile(r'(!?)\[([^\]]*)\]\(([^)\s]+)\)')
FENCE = re.compile(r'^ *```.*?^ *```', re.MULTILINE | re.DOTALL)
CODE = re.compile(r'`[^`\n]+`')
WEB = re.compile(r'[a-z]+:|#')


def page_of(path: str) -> str | None:
    """The page or picture of the site that a path of the repository is; None if it is none."""
    if path in OTHERS:
        return OTHERS[path]
    if path.startswith('figures/'):
        return path
    return path.removeprefix('docs/') if re.fullmatch(r'docs/[^/]+\.md', path) else None


def rewrite(text: str, source: str, repository: str | None = None) -> str:
    """A page as the site shows it.

    Args:
        text: The page.
        source: Its path in the repository.
        repository: Address of the repository's files, for links to what is no page.
    """

    def link(match: re.Match[str]) -> str:
        mark, words, target = match.groups()
        path, hash_sign, anchor = target.partition('#')
        if WEB.match(target):
            return match[0]
        path = os.path.normpath(os.path.join(os.path.dirname(source), path))
        page = page_of(path)
        if page is not None:
            return f'{mark}[{words}]({page}{hash_sign}{anchor})'
        return f'[{words}]({repository.rstrip("/")}/{path})' if repository else words

    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [LINK.sub(link, text[end : fence.start()]), fence[0]]
        end = fence.end()
    text = ''.join([*parts, LINK.sub(link, text[end:])])
    text = text.replace('<details>', '<details markdown="1">')
    # Within code in a table, GitHub wants a bar to be escaped and MkDocs does not.
    text = CODE.sub(lambda match: match[0].replace('\\|', '|'), text)
    return _four_blanks(text)


def _four_blanks(text: str) -> str:
    """Indent what belongs to an item '1.' by four blanks, not three, as MkDocs wants it."""
    lines, within = [], False
    for line in text.split('\n'):
        if re.match(r'\d\. ', line):
            within = True
        elif line and not line.startswith('   '):
            within = False
        lines.append(f' {line}' if within and line.startswith('   ') else line)
    return '\n'.join(lines)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages and pictures that do not stand in docs/."""
    from mkdocs.structure.files import File

    for path, page in OTHERS.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text('utf-8')))
    for picture in sorted((ROOT / 'figures').iterdir()):
        name = f'figures/{picture.name}'
        files.append(File.generated(config, name, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001 (by name)
    """Rewrite a page before it is rendered."""
    name = page.file.src_uri
    source = next((path for path, other in OTHERS.items() if other == name), f'docs/{name}')
    return rewrite(markdown, source, config.repo_url)
