"""Look at what a recognizer makes of videos, on a page in the browser.

    pip install -e .[web]
    python demo/web_demo.py CONFIG CHECKPOINT

Opens on this machine only, unless `--host` says otherwise. Uploads and results lie in a
temporary folder that goes away with the page.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; importing little keeps `--help` quick."""
    from mmaction.utils.cli import add_model_args

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_model_args(parser, label=True)
    add = parser.add_argument
    add(
        '--examples',
        nargs='*',
        metavar='VIDEO',
        help='videos to pick from (default: one of each class of the test list, if it is there)',
    )
    add('--host', default='127.0.0.1', help='address to listen at (default: this machine only)')
    add('--port', type=int, default=7860, help='0 takes any that is free (%(default)s)')
    add('--max-megabytes', type=float, default=100.0, help='size of an upload (%(default)s)')
    add('--max-seconds', type=float, default=120.0, help='length of a video (%(default)s)')
    add('--colormap', default='turbo', help='of Matplotlib (default: turbo)')
    return parser.parse_args(arguments)


def listed_examples(cfg: Any, names: list[str] | None, most: int = 8) -> list[tuple[str, Path]]:
    """The first video of each class of a config's test list, if both are there."""
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    root = Path(dataset.get('data_root') or '')
    prefix = (dataset.get('data_prefix') or {}).get('video') or ''
    ann_file = root / (dataset.get('ann_file') or '')
    found: dict[int, Path] = {}
    if dataset.get('type') == 'VideoDataset' and ann_file.is_file():
        with ann_file.open(encoding='utf-8') as lines:
            for line in lines:
                path, _, label = line.strip().rpartition(' ')
                if len(found) == most:
                    break
                if label.isdigit() and int(label) not in found and (root / prefix / path).is_file():
                    found[int(label)] = root / prefix / path
    return [(names[i] if names else path.name, path) for i, path in sorted(found.items())]


def given_examples(paths: list[str]) -> list[tuple[str, Path]]:
    """Videos and the names that the page calls them.

    Raises:
        FileNotFoundError: One of them is not there.
    """
    for path in paths:
        if not Path(path).is_file():
            raise FileNotFoundError(f'--examples: there is no video file {path}')
    return [(Path(path).stem.replace('_', ' '), Path(path)) for path in paths]


def main(arguments: list[str] | None = None) -> None:
    """Parse, build, serve."""
    args = parse_args(arguments)
    from mmaction.utils.cli import check_files, user_errors

    check_files(args, 'config', 'checkpoint', 'label')

    with user_errors(setup=True):
        try:
            import python_multipart  # noqa: F401
            import starlette  # noqa: F401
            import uvicorn  # noqa: F401
        except ImportError as error:
            raise ImportError(f"{error}: the page needs pip install 'dualformer[web]'") from error

        from mmaction.apis import init_recognizer
        from mmaction.apis.web import Limits, make_app
        from mmaction.apis.web.explain import Explainer
        from mmaction.apis.web.serving import serve
        from mmaction.utils.class_names import read_class_names
        from mmaction.visualization.grad_cam import check_colormap

        check_colormap(args.colormap)
        if min(args.max_megabytes, args.max_seconds) <= 0:
            raise ValueError('--max-megabytes and --max-seconds must be positive')
        given = given_examples(args.examples or [])
        model: Any = init_recognizer(args.config, args.checkpoint, args.device, args.cfg_options)
        names = model.dataset_meta.get('classes')
        if args.label is not None:
            names = read_class_names(args.label, model.cls_head.num_classes)
        examples = listed_examples(model.cfg, names) if args.examples is None else given
        local = args.host in ('127.0.0.1', 'localhost', '::1')
        if not local:
            print(f'warning: anyone who reaches {args.host} can upload videos to this page')
        limits = Limits(args.max_megabytes, args.max_seconds)
        explainer = Explainer(model, names, args.colormap, limits)
        app = make_app(
            explainer,
            f'{Path(args.config).stem}, {model.cls_head.num_classes} classes',
            examples,
            limits,
            ('127.0.0.1', 'localhost', '[::1]', '::1') if local else ('*',),
            explainer.reader,
        )
        try:
            serve(app, args.host, args.port)
        finally:
            app.state.jobs.close()
            explainer.reader.close()


if __name__ == '__main__':
    main()
