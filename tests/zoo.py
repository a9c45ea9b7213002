"""mmaction2 1.2's recognition models: their configs, the names of their weights, their scores.

`data/configs.json.gz` holds the 125 recognition configs, resolved: path -> every key.
`data/zoo.json.gz` holds, of 116 of them, the model section, every state-dict name with
its shape, and of many the scores of one clip.
Both were recorded from mmaction2 1.2 itself.

    python -m tests.zoo [--scores] [FAMILY ...]

prints the table of families in docs/model_zoo.md; --scores adds the largest error (minutes).
Lines are those of the modules whose classes a family's networks are made of, shared ones included.
"""

import argparse
import contextlib
import gzip
import inspect
import json
from functools import cache
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from tests.golden.fill import check_probe, load_deterministic, make_input

DATA = Path(__file__).parent / 'data'
# TRN draws tuples of frames at random in testing too: those with which its scores were
# recorded, found by trying all, lengths 7 to 2
TUPLES = {
    'trn/trn_imagenet-pretrained-r50_8xb16-1x1x8-50e_sthv1-rgb.py': [
        [(0, 1, 2, 3, 4, 5, 7), (0, 2, 3, 4, 5, 6, 7), (1, 2, 3, 4, 5, 6, 7)],
        [(0, 1, 2, 3, 4, 5), (0, 1, 2, 3, 5, 6), (1, 2, 3, 4, 5, 7)],
        [(0, 2, 3, 5, 7), (1, 2, 4, 6, 7), (1, 2, 5, 6, 7)],
        [(0, 3, 4, 5), (0, 5, 6, 7), (3, 5, 6, 7)],
        [(0, 1, 3), (0, 1, 5), (0, 4, 6)],
        [(0, 4), (2, 7), (6, 7)],
    ]
}


@cache
def configs():
    """Config name -> its keys."""
    return json.loads(gzip.decompress((DATA / 'configs.json.gz').read_bytes()))


@cache
def zoo():
    """Config name -> model, parameters, tensors, shapes and, of some, a probe."""
    entries = json.loads(gzip.decompress((DATA / 'zoo.json.gz').read_bytes()))
    return {
        name: {**entries[entry['same_as']], 'first': entry['same_as'], **entry}
        if 'same_as' in entry
        else {**entry, 'first': name}
        for name, entry in entries.items()
    }


def names_of(*families, probed=False, distinct=False):
    """Names of the entries of these families ('tsn', 'swin', ...; none: of all).

    Args:
        probed: Only those with a probe.
        distinct: Only the first of those with the same network.
    """
    return [
        name
        for name, entry in zoo().items()
        if (not families or name.split('/')[0] in families)
        and ('probe' in entry or not probed)
        and (entry['first'] == name or not distinct)
    ]


def build(name, **changes):
    """The model of an entry, without pretrained weights; `changes` go into its backbone."""
    model = Config(dict(model=zoo()[name]['model'])).model
    model.backbone.update(changes)
    return MODELS.build(model)


def check_names(name):
    """The network of an entry has mmaction2's names, of parameters too, and shapes.

    Returns:
        Its number of parameters.
    """
    entry = zoo()[name]
    with torch.device('meta'):
        model = build(name)
    found = {key: list(value.shape) for key, value in model.state_dict().items()}
    wrong = [f'missing {key}' for key in entry['shapes'] if key not in found]
    wrong += [f'unknown {key}' for key in found if key not in entry['shapes']]
    wrong += [
        f'{key}: {found[key]}, expected {shape}'
        for key, shape in entry['shapes'].items()
        if found.get(key, shape) != shape
    ]
    assert not wrong, f'{name}: {len(wrong)} differ: ' + '; '.join(wrong[:20])
    parameters = dict(model.named_parameters())
    assert set(parameters) <= set(entry['shapes']), f'{name}: named_parameters'
    total = sum(value.numel() for value in parameters.values())
    assert total == entry['parameters'], f'{name}: {total} parameters'
    return total


def check_scores(name):
    """The scores of an entry are mmaction2's; returns the largest error, over the largest score."""
    entry = zoo()[name]
    model = load_deterministic(build(name).eval())
    model.cls_head.average_clips = 'score'
    if getattr(model, 'test_cfg', None):
        model.test_cfg = dict(average_clips='score')
    if entry['first'] in TUPLES:
        draws = iter(TUPLES[entry['first']])
        model.cls_head.consensus.draw = lambda tuples: next(draws)
    clip = make_input(entry['input_shape'], entry['input_seed'])
    with torch.no_grad():
        scores = model(clip, [ActionDataSample()], mode='predict')[0].pred_score
    largest = max(1, max(abs(value) for value in entry['probe']['val']))
    return check_probe(scores, entry['probe'], 2e-3 * largest) / largest


def sources(model):
    """Files of backbones, heads, necks and common parts whose classes a model is made of."""
    classes = {cls for module in model.modules() for cls in type(module).__mro__}
    parts = tuple(f'mmaction.models.{part}.' for part in ('backbones', 'heads', 'necks', 'common'))
    return {inspect.getfile(cls) for cls in classes if cls.__module__.startswith(parts)}


def row(family, scores=False):
    """What is built of a family's configs, and how far its scores are from mmaction2's.

    Returns:
        The cells of the table: family, its configs, those that build, those whose names and
        shapes are recorded and agree, probes, with `scores` the largest error of these, and
        the lines of its sources.
    """
    names = [name for name in configs() if name.split('/')[0] == family]
    built, files = [], set()
    for name in names:
        with torch.device('meta'), contextlib.suppress(KeyError, ValueError):
            files |= sources(MODELS.build(Config(dict(model=configs()[name]['model'])).model))
            built.append(name)
    agree = [name for name in built if name in zoo() and check_names(zoo()[name]['first'])]
    probed = names_of(family, probed=True, distinct=True)
    cells = [family, len(names), len(built), len(agree), len(probed)]
    if scores:
        error = max(map(check_scores, probed), default=None)
        cells.append('' if error is None else f'{error:.1e}')
    return [*cells, sum(len(Path(file).read_text().splitlines()) for file in files)]


def main():
    """Print the table."""
    families = sorted({name.split('/')[0] for name in configs()})
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('families', nargs='*', metavar='FAMILY', help=', '.join(families))
    parser.add_argument('--scores', action='store_true', help='compute all probes')
    args = parser.parse_args()
    init_default_scope('mmaction')
    columns = ['family', 'configs', 'build', 'names agree', 'outputs compared']
    columns += ['largest error', 'lines'] if args.scores else ['lines']
    print('|', ' | '.join(columns), '|')
    print('|' + '---|' * len(columns))
    for family in args.families or families:
        print('|', ' | '.join(map(str, row(family, args.scores))), '|', flush=True)


if __name__ == '__main__':
    main()
