"""What the samples of a batch tell about files that could not be read as they should.

Workers know which files are broken; the main process learns it from the meta
data that `BaseActionDataset` leaves in the samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmengine.structures import BaseDataElement

__all__ = ['ReadingReport', 'reading_report']


@dataclass
class ReadingReport:
    """Files of a batch, each with the reason.

    Args:
        replaced: Files in whose place another was drawn (training).
        unreadable: Files in whose place the batch holds a black clip (testing).
        unreadable_clips: Indices of these clips; several may share a file.
        fallback: Files that another decoder could not read and PyAV did.
    """

    replaced: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    unreadable_clips: set[Any] = field(default_factory=set)
    fallback: list[tuple[str, str]] = field(default_factory=list)


def reading_report(data_batch: object) -> ReadingReport:
    """The report of a batch as the loader gives it.

    Args:
        data_batch: A dict with `data_samples`, or any nesting of lists and
            dicts that holds samples.
    """
    report = ReadingReport()
    for sample in _samples(data_batch):
        report.replaced += [(str(name), str(why)) for name, why in sample.get('replaced', [])]
        if 'unreadable' in sample:
            report.unreadable.append((str(sample.get('filename')), str(sample.get('unreadable'))))
            report.unreadable_clips.add(sample.get('sample_idx'))
        if 'decoder_fallback' in sample:
            name, why = sample.get('decoder_fallback')
            report.fallback.append((str(name), str(why)))
    return report


def _samples(value: object) -> Iterator[BaseDataElement]:
    if isinstance(value, BaseDataElement):
        yield value
    elif isinstance(value, Mapping):
        # Tensors hold no samples and are not worth a walk.
        yield from _samples(value.get('data_samples', []))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _samples(item)
