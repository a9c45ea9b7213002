"""Publish a run: `mmaction publish RUN --to FOLDER` or `--to hf://ORG/REPO`.

Writes config.json, model.safetensors and a model card. Without --yes nothing is written: the
files and the card are shown.
"""

from __future__ import annotations

import argparse

from mmaction.utils.cli import Parser, check_files, user_errors

__all__ = ['main', 'parse_args']


def parse_args(argv: list[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog=prog, description=__doc__)
    add = parser.add_argument
    add('run', help='work dir (its best checkpoint, else its last) or checkpoint')
    add('--to', required=True, metavar='PLACE', help='folder, or hf://ORG/REPO[@BRANCH]')
    add('--yes', action='store_true', help='write or upload, not only show')
    add('--config', metavar='FILE', help='config of the run (default: the one beside it)')
    add('--metrics', metavar='FILE', help='metrics.json of a test (default: the one beside it)')
    add('--name', help='name of the model (default: of the config)')
    add('--license', default='unknown', metavar='ID', help='such as apache-2.0')
    add('--base-model', metavar='ORG/REPO', help='what training started from')
    add('--private', action='store_true', help='make a new repository private')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Prepare, show, and with --yes publish."""
    args = parse_args(argv, prog)
    check_files(args, 'config')
    from mmaction.apis.publish import prepare, publish

    with user_errors(setup=True):
        publication = prepare(
            args.run,
            config=args.config,
            metrics=args.metrics,
            name=args.name,
            license=args.license,
            base_model=args.base_model,
        )
        print(f'{publication.checkpoint} with {publication.config}')
        for name, content in publication.files.items():
            print(f'  {name}  {len(content) / 1e6:.2f} MB')
        for note in publication.notes:
            print(f'note: {note}')
        if args.yes:
            print(f'published: {publish(publication, args.to, args.private)}')
            return
        print(f'\n{publication.files["README.md"].decode()}')
        print(f'dry run: nothing was written to {args.to}; --yes does it')
