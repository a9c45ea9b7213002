"""Datasets, loaders and pipelines of a 0.x config.

Source of the old meanings: mmaction2 0.x and the DualFormer release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmaction.errors import ConfigError

from .section import ConversionNotes, LegacySection

__all__ = ['InputFacts', 'convert_dataset', 'convert_loaders', 'convert_pipeline']

_PREFIX_KEYS = {'RawframeDataset': 'img'}
_RENAMED = {'FrameSelector': 'RawFrameDecode'}
_COLORING = ('ColorJitter', 'Imgaug', 'PytorchVideoTrans', 'RandomErasing', 'TorchvisionTrans')
_USUAL_META = ('filename', 'label', 'original_shape', 'img_shape', 'img_norm_cfg')
_LOADER_KEYS = ('persistent_workers', 'pin_memory', 'drop_last', 'prefetch_factor')


@dataclass
class InputFacts:
    """What the pipelines say of the model's input, which the data preprocessor does in 1.x.

    Attributes:
        normalized: For each pipeline its place and the arguments of its Normalize,
            None where it has none.
        formats: The `input_format` of each FormatShape.
    """

    normalized: list[tuple[str, dict[str, Any] | None]] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)

    def preprocessor(self, notes: ConversionNotes) -> dict[str, Any]:
        """The data preprocessor that does the same.

        Raises:
            ConfigError: Pipelines normalize in different ways, which one
                preprocessor cannot.
        """
        made: dict[str, Any] = dict(type='ActionDataPreprocessor')
        if self.normalized:
            place, first = self.normalized[0]
            for other, found in self.normalized[1:]:
                if found != first:
                    raise ConfigError(
                        f'config key {other}: Normalize is {found}, but in {place} it is {first}; '
                        "here one data preprocessor normalizes all clips on the model's device, "
                        'so they must be the same'
                    )
            if first is not None:
                section = LegacySection(first, f'{place}, Normalize', notes)
                made['mean'] = list(section.need('mean'))
                made['std'] = list(section.need('std'))
                if section.take('to_bgr'):
                    made['to_rgb'] = True  # which reverses the channels, and so does to_bgr
                section.lost('adjust_magnitude', 'optical flow keeps its scale')
                section.close()
        made['format_shape'] = 'NCTHW' if 'NCTHW' in self.formats else 'NCHW'
        return made


def convert_loaders(
    data: LegacySection, interval: int, facts: InputFacts, notes: ConversionNotes
) -> dict[str, dict[str, Any] | None]:
    """`data` as the three loaders of 1.x.

    Args:
        data: The old section.
        interval: `optimizer_config.update_interval`: in training the clips of a
            GPU are divided into so many batches.
        facts: Filled with what the pipelines say of the input.
        notes: Where keys without a counterpart go.

    Returns:
        `train_dataloader`, `val_dataloader` and `test_dataloader`; None for a
        split that the config has not.
    """
    shared = {
        key: data.take(key)
        for key in ('videos_per_gpu', 'workers_per_gpu', *_LOADER_KEYS)
        if key in data
    }
    loaders: dict[str, dict[str, Any] | None] = {}
    for split in ('train', 'val', 'test'):
        own = LegacySection(data.take(f'{split}_dataloader'), f'data.{split}_dataloader', notes)
        dataset = data.take(split)
        name = f'{split}_dataloader'
        if dataset is None:
            loaders[name] = None
            continue
        loader = _loader(shared, own, interval if split == 'train' else 1, notes)
        shuffle = bool(own.take('shuffle', split == 'train'))
        loader['sampler'] = dict(type='EpochSampler', shuffle=shuffle)
        loader['dataset'] = convert_dataset(
            dataset, f'data.{split}', split != 'train', facts, notes
        )
        own.not_needed('num_gpus', 'dist')
        own.close()
        loaders[name] = loader
    for key in ('videos_per_gpu', 'workers_per_gpu', *_LOADER_KEYS, 'num_gpus', 'dist'):
        data.take(key)
    data.close()
    return loaders


def _loader(
    shared: dict[str, Any], own: LegacySection, interval: int, notes: ConversionNotes
) -> dict[str, Any]:
    clips = own.take('videos_per_gpu', shared.get('videos_per_gpu', 1))
    workers = own.take('workers_per_gpu', shared.get('workers_per_gpu', 1))
    if type(clips) is not int or clips < 1:
        raise ConfigError(f'config key data.videos_per_gpu: {clips!r} is no positive integer')
    if clips < interval:
        raise ConfigError(
            f'config key optimizer_config.update_interval: {interval} batches cannot be made of '
            f'data.videos_per_gpu={clips}; raise that, or lower the interval'
        )
    if clips % interval:
        notes.lost.append(
            f'optimizer_config.update_interval={interval} does not divide '
            f'data.videos_per_gpu={clips}: a batch has {clips // interval} clips, so an update '
            f'has {clips // interval * interval} of each GPU'
        )
    loader: dict[str, Any] = dict(batch_size=clips // interval, num_workers=workers)
    if workers:
        loader['persistent_workers'] = True
    for key in _LOADER_KEYS:
        value = own.take(key, shared.get(key))
        if value is not None:
            loader[key] = value
    return loader


def convert_dataset(
    dataset: object, place: str, test_mode: bool, facts: InputFacts, notes: ConversionNotes
) -> dict[str, Any]:
    """A dataset of 0.x, or several in a list or a wrapper, in the form of 1.x."""
    if isinstance(dataset, Sequence) and not isinstance(dataset, str):
        parts = [
            convert_dataset(part, f'{place}.{i}', test_mode, facts, notes)
            for i, part in enumerate(dataset)
        ]
        return dict(type='ConcatDataset', datasets=parts)
    section = LegacySection(dataset, place, notes)
    kind = section.need('type')
    if kind == 'ConcatDataset':
        return convert_dataset(section.need('datasets'), place, test_mode, facts, notes)
    if kind == 'RepeatDataset':
        inner = convert_dataset(
            section.need('dataset'), f'{place}.dataset', test_mode, facts, notes
        )
        return dict(type=kind, times=section.need('times'), dataset=inner)
    made: dict[str, Any] = dict(type=kind)
    prefix = section.take('data_prefix')
    section.copy_to(made, 'ann_file')
    if isinstance(prefix, Mapping):
        made['data_prefix'] = dict(prefix)
    elif prefix is not None:
        made['data_prefix'] = {_PREFIX_KEYS.get(str(kind), 'video'): prefix}
    pipeline = section.take('pipeline')
    made['pipeline'] = convert_pipeline(pipeline, f'{place}.pipeline', facts, notes)
    test_mode = bool(section.take('test_mode', test_mode))
    if test_mode:
        made['test_mode'] = True
    for key in ('sample_by_class', 'power', 'dynamic_length'):
        section.lost(key, 'every clip of the list is taken once an epoch')
    # Any other argument is held against the dataset's own by the check of the new form.
    made.update(section.others())
    return made


def convert_pipeline(  # noqa: C901 (one branch for each transform that changed)
    pipeline: object, place: str, facts: InputFacts, notes: ConversionNotes
) -> list[dict[str, Any]]:
    """A pipeline without Normalize, Collect and ToTensor.

    Raises:
        ConfigError: It is no list of dicts with a type, or a step has no counterpart.
    """
    if not isinstance(pipeline, Sequence) or isinstance(pipeline, str):
        raise ConfigError(f'config key {place}: a list of steps was expected, found {pipeline!r}')
    steps: list[dict[str, Any]] = []
    normalized: dict[str, Any] | None = None
    for index, old in enumerate(pipeline):
        way = f'{place}.{index}'
        if not isinstance(old, Mapping) or 'type' not in old:
            raise ConfigError(f'config key {way}: a dict with a type was expected, found {old!r}')
        step = dict(old)
        kind = step['type'] = _RENAMED.get(str(step['type']), step['type'])
        if kind == 'Normalize':
            normalized = {key: value for key, value in step.items() if key != 'type'}
        elif kind == 'Collect':
            steps.append(_pack(step, way, notes))
        elif kind in ('ToTensor', 'ImageToTensor', 'ToDataContainer'):
            continue  # packing makes tensors
        elif kind in ('SampleFrames', 'DenseSampleFrames'):
            steps.append(_sampling(step, way, notes))
        else:
            if normalized is not None and kind in _COLORING:
                notes.lost.append(
                    f'{way}: {kind} works on frames of 0 to 255 here, not on normalized ones'
                )
            steps.append(step)
        if kind == 'FormatShape':
            facts.formats.append(str(step.get('input_format')))
    if not any(step['type'] in ('PackActionInputs', 'Collect') for step in steps):
        raise ConfigError(f'config key {place}: it has no Collect, so nothing reaches the model')
    facts.normalized.append((place, normalized))
    return steps


def _pack(step: dict[str, Any], way: str, notes: ConversionNotes) -> dict[str, Any]:
    section = LegacySection(step, way, notes)
    section.take('type')
    section.take('meta_name')
    nested = section.take('nested')
    others = [key for key in section.take('keys', ()) if key not in ('imgs', 'label')]
    wanted = [key for key in section.take('meta_keys', ()) if key not in _USUAL_META]
    section.close()
    if nested or others:
        notes.lost.append(
            f'{way}.keys: Collect of {others or "nested items"} has no counterpart; imgs and label '
            'are taken'
        )
    packed: dict[str, Any] = dict(type='PackActionInputs')
    if wanted:
        packed['meta_keys'] = ('img_shape', 'filename', 'sample_idx', *wanted)
    return packed


def _sampling(step: dict[str, Any], way: str, notes: ConversionNotes) -> dict[str, Any]:
    if step.pop('frame_uniform', False):
        raise ConfigError(
            f'config key {way}: frame_uniform=True has no counterpart in SampleFrames; '
            "dict(type='UniformSample', clip_len=...) takes one frame of each of clip_len "
            'equal segments'
        )
    if step.pop('start_index', None) is not None:
        notes.idle.append(f'{way}.start_index')  # 0.x reads that of the dataset
    if step['type'] == 'SampleFrames' and step.get('test_mode'):
        step['test_sampling'] = 'segment_centers'
    return step
