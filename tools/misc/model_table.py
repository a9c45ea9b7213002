"""Make the tables of models in README.md and docs/model_zoo.md from the metafiles.

    python tools/misc/model_table.py [--check]

They stand between two comments, and all else in a page is left as it is. With --check
nothing is written; the exit status is 1 if a page says something else.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'configs' / 'recognition' / 'dualformer'
METAFILE = FOLDER / 'metafile.yml'
ZOO = FOLDER.parent / 'metafile.yml'
BEGIN, END = '<!-- models: begin -->', '<!-- models: end -->'
KEYS = {
    'Name',
    'Data',
    'Pretrained',
    'Parameters',
    'FLOPs',
    'Views',
    'Published',
    'Weights',
    'Measured',
    'Command',
}


def read_models(path: Path = METAFILE) -> list[dict[str, Any]]:
    """The entries of the metafile.

    Raises:
        ValueError: An entry has an unknown key, lacks one, or names no config.
    """
    models: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding='utf-8'))['Models']
    for model in models:
        name = model.get('Name')
        unknown, missing = set(model) - KEYS, {'Name', 'Data', 'Parameters', 'FLOPs'} - set(model)
        if unknown or missing:
            raise ValueError(
                f'{path}: {name}: unknown {sorted(unknown)}, missing {sorted(missing)}'
            )
        if not (FOLDER / f'{name}.py').is_file():
            raise ValueError(f'{path}: there is no config {name}.py beside it')
        if ('Measured' in model) != ('Command' in model):
            raise ValueError(f'{path}: {name}: Measured and Command go together')
    return models


ZOO_KEYS = {'Name', 'Model', 'Data', 'Parameters', 'FLOPs', 'Published', 'Weights'}


def read_zoo(path: Path = ZOO) -> list[dict[str, Any]]:
    """The entries of mmaction2's models.

    Raises:
        ValueError: An entry has other keys, or names no config.
    """
    models: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding='utf-8'))['Models']
    for model in models:
        if set(model) != ZOO_KEYS:
            wrong = sorted(set(model) ^ ZOO_KEYS)
            raise ValueError(f'{path}: {model.get("Name")}: unknown or missing {wrong}')
        if not (path.parent / f'{model["Name"]}.py').is_file():
            raise ValueError(f'{path}: there is no config {model["Name"]}.py')
    return models


def zoo_table(models: list[dict[str, Any]]) -> str:
    """One row for each of mmaction2's models."""
    rows = [
        '| model | dataset | top-1 (published) | parameters (ours) | GFLOPs of a clip (ours) '
        '| config | checkpoint |',
        '|---|---|---|---|---|---|---|',
    ]
    rows += [
        f'| {model["Model"]} | {model["Data"]} | {model["Published"]} '
        f'| {model["Parameters"]:.1f} M | {model["FLOPs"]:.1f} '
        f'| [{model["Name"].split("/")[0]}](../configs/recognition/{model["Name"]}.py) '
        f'| [file]({model["Weights"]}) |'
        for model in models
    ]
    return '\n'.join(rows)


def tables(models: list[dict[str, Any]]) -> str:
    """The two tables: published figures, and ours."""
    published = [
        '| config ([folder](configs/recognition/dualformer)) | dataset | pretrained on '
        '| top-1 (published) | parameters (ours) | GFLOPs of a clip (ours) x views | weights |',
        '|---|---|---|---|---|---|---|',
    ]
    ours = [
        '| config | dataset | top-1 (ours, seeds 0, 1, 2) | parameters | command |',
        '|---|---|---|---|---|',
    ]
    for model in models:
        size = f'{model["Parameters"]:.1f} M'
        if 'Published' in model:
            published.append(
                f'| `{model["Name"]}` | {model["Data"]} | {model["Pretrained"]} '
                f'| {model["Published"]} | {size} | {model["FLOPs"]:.1f} x {model["Views"]} '
                f'| [page]({model["Weights"]}) |'
            )
        if 'Measured' in model:
            scores = ', '.join(f'{score:.3f}' for score in model['Measured'])
            ours.append(
                f'| `{model["Name"]}` | {model["Data"]} | {scores} '
                f'| {model["Parameters"]:.2f} M | {_command(model["Command"])} |'
            )
    return '\n'.join([*published, '', *ours])


def _command(text: str) -> str:
    """A command as code, or 'see PAGE' as a link."""
    page = text.removeprefix('see ')
    return f'`{text}`' if page == text else f'[{page}]({page})'


def main(argv: list[str] | None = None) -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true', help='write nothing')
    args = parser.parse_args(argv)
    made = {
        ROOT / 'README.md': tables(read_models()),
        ROOT / 'docs' / 'model_zoo.md': zoo_table(read_zoo()),
    }
    for page, table in made.items():
        text = page.read_text(encoding='utf-8')
        before, _, rest = text.partition(BEGIN)
        new = f'{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}'
        if new == text:
            continue
        if args.check:
            name = page.relative_to(ROOT)
            sys.exit(f'error: {name} and its metafile differ: run python tools/misc/model_table.py')
        from mmaction.utils.io import write_text

        write_text(page, new)


if __name__ == '__main__':
    main()
