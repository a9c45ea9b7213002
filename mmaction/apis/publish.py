"""Publishing a trained recognizer: a folder, or a repository of the Hub, that loads by itself.

It holds `config.json` (model and test pipeline, no paths), `model.safetensors` and `README.md`,
the model card. `ActionRecogInferencer.from_pretrained` takes it back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmaction.apis.inference import init_recognizer
from mmaction.apis.test_pipeline import pipeline_steps
from mmaction.config.load import load_config
from mmaction.engine.runner.checkpoint import find_checkpoint
from mmaction.errors import CheckpointError, ConfigError
from mmaction.models.lora import merge_lora
from mmaction.models.recognizers import BaseRecognizer
from mmaction.utils.checkpoint_reading import load_checkpoint_file
from mmaction.utils.class_names import find_data_set
from mmaction.utils.environment import versions
from mmaction.utils.hub import WEIGHTS, HubAddress, hub_errors, is_address, require
from mmaction.utils.io import file_digest, write_bytes
from mmaction.version import __version__

__all__ = ['Publication', 'metrics_of', 'prepare', 'publish']

_TASK = 'video-classification'
_FACTS = ('clips', 'unreadable_clips')


@dataclass(frozen=True)
class Publication:
    """What is published.

    Attributes:
        files: Content of each file by its name.
        checkpoint: Where the weights are from.
        config: The config they are of.
        notes: What was left out, in sentences.
    """

    files: dict[str, bytes]
    checkpoint: Path
    config: Path
    notes: tuple[str, ...] = ()


def prepare(
    run: str | Path,
    *,
    config: str | Path | None = None,
    metrics: str | Path | None = None,
    name: str | None = None,
    license: str = 'unknown',
    base_model: str | None = None,
) -> Publication:
    """Make the files of a publication, without writing any.

    Args:
        run: A work dir, whose best checkpoint counts, else its last; or a checkpoint.
        config: Config of the run; the one in the work dir if None.
        metrics: metrics.json of a test of this checkpoint; the one in the work dir if None.
        name: Of the model; that of the config if None.
        license: An identifier such as apache-2.0.
        base_model: The model of the Hub that training started from, `ORG/REPO`.

    Raises:
        ConfigError: There is no config or several.
        ValueError: The metrics are of another checkpoint.
        CheckpointError: There is no checkpoint, or it does not fit.
    """
    checkpoint = _checkpoint(Path(run))
    path = Path(config) if config is not None else _config(checkpoint)
    cfg = load_config(path)
    measured, notes = _metrics(metrics, checkpoint)
    meta = load_checkpoint_file(checkpoint).get('meta') or {}
    model: Any = init_recognizer(cfg, checkpoint, 'cpu')
    merge_lora(model)
    classes = model.dataset_meta.get('classes')
    content = _plain(
        dict(
            library_name='mmaction',
            library_version=__version__,
            pipeline_tag=_TASK,
            default_scope='mmaction',
            model=_model(cfg, model),
            test_pipeline=pipeline_steps(cfg),
            classes=classes,
        ),
        path,
    )
    name = name or path.stem
    base_model = base_model or _base_model(cfg)
    card = _card(name, license, base_model, cfg, meta, classes, measured, model)
    files = {
        'config.json': (json.dumps(content, indent=2) + '\n').encode(),
        WEIGHTS: _weights(model),
        'README.md': card.encode(),
    }
    return Publication(files, checkpoint, path, notes)


def publish(publication: Publication, to: str | Path, private: bool = False) -> str:
    """Write the files to a folder, or upload them to `hf://ORG/REPO[@BRANCH]`.

    Returns:
        Where they are now.

    Raises:
        ConfigError: The folder is not empty, or the address names a file.
        CheckpointError: The Hub refuses them.
    """
    if not is_address(to):
        folder = Path(to).expanduser()
        names = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
        others = sorted(names - set(publication.files))
        if others:
            raise ConfigError(f'{folder} holds other files, such as {others[0]}: give a new folder')
        for name, content in publication.files.items():
            write_bytes(folder / name, content)
        return str(folder)
    require('huggingface_hub', str(to))
    from huggingface_hub import CommitOperationAdd, HfApi

    place = HubAddress.parse(str(to))
    if place.file is not None:
        raise ConfigError(f'{to} names a file: give the repository, hf://{place.repo}')
    operations = [CommitOperationAdd(n, content) for n, content in publication.files.items()]
    with hub_errors(str(to)):
        api = HfApi()
        api.create_repo(place.repo, private=private, exist_ok=True)
        commit = api.create_commit(
            place.repo,
            operations,
            commit_message=f'Weights of {publication.config.stem}',
            revision=place.revision,
        )
    return str(commit.commit_url)


def metrics_of(path: str | Path, checkpoint: str | Path) -> dict[str, Any]:
    """The content of a metrics.json, which has to be of a checkpoint.

    Raises:
        ValueError: It is no JSON object, or says that it is of another one.
    """
    try:
        metrics = json.loads(Path(path).read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is no JSON: {error}') from error
    if not isinstance(metrics, dict):
        raise ValueError(
            f'{path} holds a {type(metrics).__name__}, expected a dict of metrics, such as the '
            'metrics.json that a test writes'
        )
    measured, digest = metrics.get('checkpoint'), metrics.get('checkpoint_sha256')
    if digest is None:
        same = measured is None or Path(str(measured)).name == Path(checkpoint).name
    else:
        same = digest == file_digest(checkpoint)
    if not same:
        raise ValueError(
            f'{path} was measured with {measured}, which is not {checkpoint}: test that one, or '
            'leave --metrics out'
        )
    found: dict[str, Any] = metrics
    return found


def _checkpoint(run: Path) -> Path:
    if run.is_file():
        return run
    if not run.is_dir():
        raise CheckpointError(f'there is no run {run}: give a work dir or a checkpoint')
    if (run / 'model.pth').is_file():
        return run / 'model.pth'  # the weights that finetune has tested
    best = sorted(run.glob('best_*.pth'), key=lambda path: path.stat().st_mtime_ns)
    found = best[-1] if best else find_checkpoint(run)
    if found is None:
        raise CheckpointError(f'{run} holds no checkpoint: give the .pth file itself')
    return found


def _config(checkpoint: Path) -> Path:
    beside = checkpoint.with_suffix('.py')
    found = [beside] if beside.is_file() else sorted(checkpoint.parent.glob('*.py'))
    if len(found) != 1:
        there = f'{len(found)} configs' if found else 'no config'
        raise ConfigError(f'{checkpoint.parent} holds {there}: give it with --config')
    return found[0]


def _metrics(given: str | Path | None, checkpoint: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What was measured of a checkpoint, and why nothing was."""
    if given is not None:
        return metrics_of(given, checkpoint), ()
    folder = checkpoint.parent
    path = folder / 'metrics.json'
    if not path.is_file():
        path = folder / 'run' / 'metrics.json'  # of finetune
    if not path.is_file():
        return {}, (
            f'{folder} holds no metrics.json of a test, so the card has no metrics ("mmaction test '
            f'CONFIG CHECKPOINT --work-dir {folder}" writes one)',
        )
    try:
        return metrics_of(path, checkpoint), ()
    except ValueError as error:
        return {}, (f'the card has no metrics: {error}',)


def _model(cfg: Config, model: BaseRecognizer) -> dict[str, Any]:
    """The config of the model without where its first weights came from."""
    described = cfg.model.to_dict()
    backbone = described['backbone']
    full_config = getattr(model.backbone, 'full_config', None)
    if full_config is not None:
        backbone = {**full_config(), 'pretrained': False}
    else:
        for key in ('pretrained', 'lora', 'frozen'):
            backbone.pop(key, None)
    return {**described, 'backbone': backbone}


def _plain(content: dict[str, Any], path: Path) -> Any:
    try:
        return json.loads(json.dumps(content))
    except TypeError as error:
        raise ConfigError(
            f'{path}: the model or the test pipeline is no plain data ({error})'
        ) from error


def _weights(model: Any) -> bytes:
    from safetensors.torch import save

    state = {name: value.detach().contiguous() for name, value in model.state_dict().items()}
    content: bytes = save(state, dict(format='pt'))
    return content


def _base_model(cfg: Config) -> str | None:
    """The repository that a backbone of transformers, or load_from, is from."""
    kind = str(cfg.model.backbone.get('type'))
    source = str(cfg.get('load_from') or '')
    if is_address(source):
        return HubAddress.parse(source).repo
    name = kind.removeprefix('transformers.').split('@')[0]
    is_repo = kind.startswith('transformers.') and name.count('/') == 1 and '@' in kind
    return name if is_repo else None


def _data(cfg: Config) -> str:
    """The data of training, by name."""
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    root, ann_file = str(dataset.get('data_root') or ''), str(dataset.get('ann_file') or '')
    return find_data_set(f'{root} {ann_file}') or Path(root or ann_file).name or 'not recorded'


def _figures(measured: Mapping[str, Any], meta: Mapping[str, Any]) -> list[tuple[str, float, str]]:
    """Name and value of what was measured, and the command that did."""
    probe = meta.get('probe')
    if probe:
        command = f'mmaction probe CONFIG CHECKPOINT --probe configs/probe/{probe["kind"]}.py'
        return [('top1_acc', float(probe['best']['accuracy']), command)]
    command = f'mmaction test {Path(str(measured.get("config"))).name} CHECKPOINT'
    return [
        (name, float(value), command)
        for name, value in measured.items()
        if isinstance(value, (int, float)) and name not in _FACTS
    ]


def _card(
    name: str,
    license: str,
    base_model: str | None,
    cfg: Config,
    meta: Mapping[str, Any],
    classes: list[str] | None,
    measured: Mapping[str, Any],
    model: BaseRecognizer,
) -> str:
    """The model card: its YAML as huggingface_hub writes and reads it, then Markdown."""
    require('huggingface_hub', 'a model card')
    from huggingface_hub import EvalResult, ModelCardData

    data = _data(cfg)
    figures = _figures(measured, meta)
    results = [
        EvalResult(
            task_type=_TASK,
            dataset_type=data.lower().replace(' ', '-'),
            dataset_name=data,
            metric_type='accuracy' if 'acc' in key else key,
            metric_name=key,
            metric_value=round(value, 6),
        )
        for key, value, _ in figures
    ]
    facts = ModelCardData(
        license=license,
        library_name='mmaction',
        pipeline_tag=_TASK,
        tags=['mmaction', 'video', 'action-recognition'],
        base_model=base_model,
        model_name=name if results else None,
        eval_results=results or None,
    )
    size = sum(weight.numel() for weight in model.parameters())
    trained = ', '.join(f'{meta[key]} {key}s' for key in ('epoch', 'iter') if meta.get(key))
    lines = [
        f'# {name}',
        '',
        f'{_model(cfg, model)["backbone"]["type"]} with {type(model.cls_head).__name__}, '
        f'{size / 1e6:.2f} M parameters, trained with mmaction.',
        '',
        '## Data',
        '',
        f'{data}{f"; {trained}" if trained else ""}.',
        '',
        '## Metrics',
        '',
        *([f'- {key}: {value:.4f} (`{command}`)' for key, value, command in figures]
          or ['Not measured.']),
        '',
        '## Use',
        '',
        '```python',
        'from mmaction.apis import ActionRecogInferencer',
        '',
        "inferencer = ActionRecogInferencer.from_pretrained('FOLDER or hf://ORG/REPO')",
        "print(inferencer('video.mp4')['predictions'][0]['top5'])",
        '```',
        '',
    ]  # fmt: skip
    if classes:
        lines += [f'## Classes ({len(classes)})', '', ', '.join(classes), '']
    lines += ['## Versions', '', *(f'- {key} {text}' for key, text in versions().items()), '']
    return f'---\n{facts.to_yaml()}\n---\n\n' + '\n'.join(lines)
