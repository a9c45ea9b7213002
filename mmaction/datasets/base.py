"""The base of all action recognition datasets."""

from __future__ import annotations

import logging
import os.path as osp
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from mmengine.utils import is_abs
from torch.utils.data import get_worker_info

from mmaction.errors import UnreadableVideoError
from mmaction.registry import TRANSFORMS
from mmaction.utils.class_names import class_names_beside
from mmaction.utils.cli import brief
from mmaction.utils.isolated_call import CallCrashed, CallTimedOut, IsolatedCall, isolated_call
from mmaction.utils.remote import exists, redacted
from mmaction.utils.watchdog import Watchdog

from .annotations import ListFormat, read_list
from .samplers import SampleKey
from .seeding import sample_generator, sample_randomness
from .transforms.loading import defer_conversion
from .transforms.pipeline import Pipeline

__all__ = ['BaseActionDataset', 'note']


class BaseActionDataset(BaseDataset):
    """A list of labeled clips and the pipeline that reads them.

    Every draw of the pipeline is seeded by the `SampleKey` of the sample. A
    plain integer works as well: in testing it is the seed, in training the
    seed is drawn from numpy's global state.

    A clip that cannot be read (`UnreadableVideoError`) is, in training,
    replaced by another that the seed of the sample chooses, at most
    `max_refetch` times in a row; the packed sample then has the meta data
    `replaced`, a list of (file, reason). In testing nothing is replaced: the
    sample is a black clip with the meta data `unreadable`, the reason, so that
    it has the shape of every other one and the metric can count it as wrong.

    Args:
        ann_file: Annotation list; relative to `data_root`. Names of the classes
            are taken from `classes.txt` beside it unless `metainfo` has them.
            With `split`, `{split}` in it stands for that.
        pipeline: Transforms, as configs or callables.
        data_prefix: Folder of the clips under the key of the dataset, relative
            to `data_root`; None or a URL is kept as it is.
        test_mode: Testing or validation.
        multi_class: Clips have several labels; `label` becomes a float vector
            of `num_classes` with ones at the labels.
        num_classes: Number of classes; labels are held against it.
        start_index: Index of the first frame: 0 for videos, mostly 1 for frames.
        modality: 'RGB' or 'Flow'.
        split: Which of several splits of the dataset to take.
        max_refetch: Replacements in a row before training stops.
        decode_timeout: Seconds that reading one clip may take; None for ever.
            In a worker of a loader, clips are read in a child process, which
            is killed when it takes longer or crashes; the clip then counts as
            unreadable. Without workers, the run is ended with a message. Set
            None to step through transforms with a debugger. Linux only.
        kwargs: `metainfo`, `data_root`, `filter_cfg`, `indices`,
            `serialize_data`, `lazy_init` of mmengine's `BaseDataset`.

    Source: the class of this name in mmaction2 1.x.
    """

    ann_file: str
    list_form: str = ''
    """What a line of the list holds."""
    data_prefix: dict[str, str | None]

    def __init__(
        self,
        ann_file: str,
        pipeline: list[dict[str, Any] | Callable[..., Any]],
        data_prefix: dict[str, str | None] | None = None,
        test_mode: bool = False,
        multi_class: bool = False,
        num_classes: int | None = None,
        start_index: int = 0,
        modality: str = 'RGB',
        split: int | str | None = None,
        max_refetch: int = 10,
        decode_timeout: float | None = 60.0,
        lazy_init: bool = False,
        **kwargs: Any,
    ) -> None:
        if multi_class and num_classes is None:
            raise ValueError('`multi_class=True` needs `num_classes`, the length of the label')
        ann_file = str(ann_file)
        if split is not None:
            if '{split}' not in ann_file:
                raise ValueError(
                    f'split={split!r}, but there is no {{split}} in ann_file={ann_file!r}: write '
                    "the list as 'train_split{split}.txt', or leave `split` out"
                )
            ann_file = ann_file.replace('{split}', str(split))
        self.multi_class = multi_class
        self.num_classes = num_classes
        self.start_index = start_index
        self.modality = modality
        self.decode_timeout = decode_timeout or 0.0
        self._isolated: IsolatedCall | None = None
        self._watchdog: Watchdog | None = None
        super().__init__(
            ann_file=ann_file,
            data_prefix=dict(prefix='') if data_prefix is None else data_prefix,
            # Built here, the transforms resolve in this package whatever the default scope is.
            pipeline=[TRANSFORMS.build(t) if isinstance(t, dict) else t for t in pipeline],
            test_mode=test_mode,
            max_refetch=max_refetch,
            lazy_init=True,
            **kwargs,
        )
        self.pipeline = Pipeline(self.pipeline.transforms)
        defer_conversion(self.pipeline.transforms)
        classes = class_names_beside(self.ann_file)
        if classes is not None:
            self._metainfo.setdefault('classes', classes)
        for transform in self.pipeline.transforms:
            if hasattr(transform, 'bind_classes'):
                transform.bind_classes(self._metainfo.get('classes'))
        if not lazy_init:
            self.full_init()

    def _join_prefix(self) -> None:
        """Put `data_root` before relative paths."""
        if not isinstance(self.data_prefix, dict):
            raise TypeError(
                "`data_prefix` must be a dict such as dict(video='data/clips'), "
                f'found {self.data_prefix!r}'
            )
        root = self.data_root or ''
        if self.ann_file and not is_abs(self.ann_file) and '://' not in self.ann_file:
            self.ann_file = osp.join(root, self.ann_file)
        for key, prefix in self.data_prefix.items():
            if prefix is not None and not is_abs(prefix) and '://' not in prefix:
                self.data_prefix[key] = osp.join(root, prefix)

    def _read_list(self, form: ListFormat, prefix_key: str) -> list[dict[str, Any]]:
        """Entries of the annotation list with `data_prefix` before their path.

        Raises:
            FileNotFoundError: The list or the folder of the clips is missing.
            ValueError: The list is empty, malformed, or has labels without a name.
        """
        self.list_form = form.example
        entries = read_list(self.ann_file, form)
        self._check_class_names(entries)
        prefix = self.data_prefix.get(prefix_key)
        if not prefix:
            return entries
        if '://' not in prefix and not exists(prefix):
            raise FileNotFoundError(
                f'folder {prefix!r} does not exist: set `data_prefix` (key {prefix_key!r}) and '
                '`data_root` of the dataset to where the clips are'
            )
        for entry in entries:
            entry[form.path_key] = osp.join(prefix, entry[form.path_key])
        return entries

    def _check_class_names(self, entries: list[dict[str, Any]]) -> None:
        classes = self._metainfo.get('classes')
        if classes is None:
            return
        labels = [np.atleast_1d(entry['label']).max(initial=-1) for entry in entries]
        largest = int(np.max(labels))
        if largest >= len(classes):
            entry = entries[int(np.argmax(labels))]
            raise ValueError(
                f'{self.ann_file}: label {largest} ({brief(entry, 200)}) has no name: there are '
                f'{len(classes)} class names (from `metainfo` or `classes.txt` beside the list)'
            )

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """The annotation of a clip, with what the transforms read besides."""
        return self._with_facts(super().get_data_info(int(idx)))

    def _with_facts(self, info: dict[str, Any]) -> dict[str, Any]:
        """An entry of the list, with what is the same for all clips."""
        info['modality'] = self.modality
        info['start_index'] = self.start_index
        if self.multi_class:
            assert self.num_classes is not None
            onehot = torch.zeros(self.num_classes)
            onehot[info['label']] = 1.0
            info['label'] = onehot
        return info

    def get_cat_ids(self, idx: int) -> list[int]:
        """The labels of a clip, which `ClassBalancedDataset` asks for."""
        label = super().get_data_info(int(idx))['label']
        return list(label) if self.multi_class else [label]

    def __getitem__(self, idx: int) -> Any:
        """The packed sample of an index or a `SampleKey`.

        Raises:
            UnreadableVideoError: In training, `max_refetch` replacements in a
                row could not be read either.
        """
        if not self._fully_initialized:
            self.full_init()
        key, fetch = self._key(idx), self._fetcher(idx)
        return self._test_sample(key, fetch) if self.test_mode else self._train_sample(key, fetch)

    def _key(self, idx: int) -> SampleKey:
        position = int(idx) + (len(self) if idx < 0 else 0)
        if not 0 <= position < len(self):
            raise IndexError(f'index {int(idx)} is outside the {len(self)} clips of the dataset')
        if self.test_mode:
            return SampleKey(position)
        if isinstance(idx, SampleKey):
            return idx
        return SampleKey(position, seed=np.random.randint(2**31))

    def _fetcher(self, idx: int) -> Callable[[SampleKey, bool], Any]:
        """How samples are read: guarded against hangs in a run, plainly otherwise."""
        if not self.decode_timeout or sys.platform != 'linux':
            return self._run
        if get_worker_info() is not None:
            return self._run_isolated
        return self._run_watched if isinstance(idx, SampleKey) else self._run

    def _train_sample(self, key: SampleKey, fetch: Callable[[SampleKey, bool], Any]) -> Any:
        failed: list[tuple[str, str]] = []
        tried: set[int] = set()
        current = key
        while True:
            try:
                data = fetch(current, False)
            except UnreadableVideoError as error:
                failed.append((error.filename, error.reason))
            else:
                if failed:
                    note(data, replaced=failed)
                return data
            if len(failed) > self.max_refetch:
                files = '; '.join(f'{name!r}: {reason}' for name, reason in dict(failed).items())
                raise UnreadableVideoError(
                    f'{len(failed)} clips in a row cannot be read, more than max_refetch='
                    f'{self.max_refetch} allows: {files}'
                )
            tried.add(int(current))
            draws = sample_generator(*key.entropy, len(failed))
            index = int(draws.integers(len(self)))
            while index in tried and len(tried) < len(self):
                index = (index + 1) % len(self)
            current = SampleKey(index, key.epoch, key.seed, key.stream)

    def _test_sample(self, key: SampleKey, fetch: Callable[[SampleKey, bool], Any]) -> Any:
        try:
            return fetch(key, False)
        except UnreadableVideoError as error:
            data = fetch(key, True)
            note(data, unreadable=error.reason, filename=error.filename, sample_idx=int(key))
            return data

    def _run(self, key: SampleKey, blank: bool) -> Any:
        """Run the pipeline on one clip; `blank` puts black frames in its place."""
        info = self.get_data_info(key)
        if blank:
            info['blank'] = True
        with sample_randomness(*key.entropy):
            data = self.pipeline(info)
        if data is None:
            raise UnreadableVideoError(_clip_name(info), 'a transform returned None')
        if 'decoder_fallback' in info:
            note(data, decoder_fallback=(_clip_name(info), info['decoder_fallback']))
        return data

    def _run_isolated(self, key: SampleKey, blank: bool) -> Any:
        if self._isolated is None:
            self._isolated = isolated_call(self._run, self.decode_timeout)
        try:
            return self._isolated(key, blank)
        except (CallTimedOut, CallCrashed) as error:
            name = _clip_name(self.get_data_info(key))
            raise UnreadableVideoError(name, f'reading it {error}') from None

    def _run_watched(self, key: SampleKey, blank: bool) -> Any:
        if self._watchdog is None:
            self._watchdog = Watchdog(self.decode_timeout)
        self._watchdog.watch(_clip_name(self.get_data_info(key)))
        try:
            return self._run(key, blank)
        finally:
            self._watchdog.done()


def _clip_name(info: dict[str, Any]) -> str:
    name = info.get('filename') or info.get('frame_dir') or f'clip {info["sample_idx"]}'
    return redacted(str(name))


def note(data: object, **facts: Any) -> None:
    """Write facts into the meta data of a packed sample; log them if it is not packed.

    Of a list of samples that share a file, the first gets them.
    """
    item = data[0] if isinstance(data, list) else data
    sample = item.get('data_samples') if isinstance(item, dict) else None
    if isinstance(sample, BaseDataElement):
        sample.set_metainfo(facts)
    else:
        told = '; '.join(f'{name}: {fact}' for name, fact in facts.items())
        print_log(f'clip that is not packed: {told}', logger='current', level=logging.WARNING)
