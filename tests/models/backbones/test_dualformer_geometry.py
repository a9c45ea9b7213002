"""Settings of DualFormer, the grids and kernels that follow, and what is refused."""

import pytest

from mmaction.models.backbones import DualFormer
from tests.models.backbones.small_dualformer import PARAMETERS, golden_shapes, on_meta, shapes_of


@pytest.mark.parametrize('arch', PARAMETERS)
def test_published_temporal_pooling_and_coarse_grids_give_the_published_network(arch):
    given = dict(temporal_pooling=[-1, 1, 1, 1], coarse_pysizes=[(4, 4, 4)] * 4)
    model = on_meta(arch, **given)
    golden = golden_shapes(arch)
    assert shapes_of(model) == golden
    assert [stage.grid[0] for stage in model.geometry] == [16, 16, 16, 16]
    # The release overwrites the first entry of the list that it is given.
    assert given == dict(temporal_pooling=[-1, 1, 1, 1], coarse_pysizes=[(4, 4, 4)] * 4)


# rates: temporal kernel of the patch embeddings, frames of the grids, kernels of sr and of lr.3
TEMPORAL = {
    (-1, 2, 1, 1): (
        (2, 2, 1, 1), (16, 8, 8, 8),
        [(2, 8, 8), (1, 4, 4), (1, 2, 2), None], [(4, 2, 2), (2, 1, 1), None, None],
    ),
    (2, 1, 2, 1): (
        (2, 1, 2, 1), (16, 16, 8, 8),
        [(2, 8, 8), (2, 4, 4), (1, 2, 2), None], [(4, 2, 2), (4, 1, 1), None, None],
    ),
    (7, 1, 1, 2): (
        (2, 1, 1, 2), (16, 16, 16, 8),
        [(2, 8, 8), (2, 4, 4), (2, 2, 2), None], [(4, 2, 2), (4, 1, 1), None, None],
    ),
}  # fmt: skip


@pytest.mark.parametrize('rates', TEMPORAL)
def test_temporal_pooling_gives_grids_and_kernels(rates):
    model = on_meta('tiny', temporal_pooling=list(rates))
    embeddings, frames, fine, coarse = TEMPORAL[rates]
    kernels = [tuple(embed.proj.weight.shape[2:]) for embed in model.patch_embeds]
    assert kernels == [(t, k, k) for t, k in zip(embeddings, (4, 2, 2, 2), strict=True)]
    sides = (56, 28, 14, 7)
    assert [s.grid for s in model.geometry] == [
        (t, n, n) for t, n in zip(frames, sides, strict=True)
    ]
    attention = [stage[1].attn for stage in model.blocks]
    assert [a.sr and tuple(a.sr.weight.shape[2:]) for a in attention] == fine
    assert [a.lr and tuple(a.lr[3].weight.shape[2:]) for a in attention] == coarse


@pytest.mark.parametrize(
    'value',
    [True, False, None, 1, 'tttt', [], [-1, 1, 1], [-1, 1, 1, 1, 1], [-1, 0, 1, 1], [-1, 1, 1, -1],
     [-1, 1.0, 1, 1], [-1.0, 1, 1, 1], [-1, True, 1, 1], [None, 1, 1, 1], {'a': 1}],
)  # fmt: skip
def test_what_is_no_list_of_temporal_rates_is_one_error(value):
    with pytest.raises(ValueError, match=r'is no list of temporal rates') as error:
        on_meta('tiny', temporal_pooling=value)
    text = str(error.value)
    assert text.startswith(f'temporal_pooling={value!r} ')
    assert 'one integer for each of the 4 stages' in text
    assert '\n' not in text


@pytest.mark.parametrize('stages', [1, 2, 3, 5])
def test_time_is_kept_by_default_in_any_number_of_stages(stages):
    lists = dict(
        embed_dims=[8] * stages, num_heads=[2] * stages, depths=[2] * stages,
        mlp_ratios=[1] * stages, local_sizes=[(2, 2, 2)] * stages,
        fine_pysizes=[(1, 1, 1)] * stages, coarse_pysizes=[None] * stages,
    )  # fmt: skip
    model = on_meta(arch=lists, video_size=(8, 64, 64))
    assert [stage.grid[0] for stage in model.geometry] == [4] * stages
    if stages > 1:
        halved = on_meta(arch=lists, video_size=(8, 64, 64), temporal_pooling=[2] * stages)
        assert halved.geometry[1].grid[0] == 2


def test_stages_after_the_second_have_no_coarse_level_whatever_their_entries_say():
    for entries in ([(4, 4, 4), (4, 4, 4), (5, 3, 2), None], [(4, 4, 4), None, (7, 7, 7), 0]):
        model = on_meta('tiny', coarse_pysizes=entries)
        found = [stage[1].attn.lr is not None for stage in model.blocks]
        assert found == [True, entries[1] is not None, False, False]


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(arch='tinny'), r"arch='tinny' is none of tiny, small, base"),
        (dict(arch=dict(embed_dim=[8])), r"unknown keys \['embed_dim'\]"),
        (dict(embed_dims=3), 'embed_dims=3: expected a list'),
        (dict(fine_pysizes='ab'), "fine_pysizes='ab': expected a list"),
        (dict(depths=(2, 2, 2)), r'depths=\(2, 2, 2\) is for 3 stages'),
        (dict(num_heads=(3, 4, 8, 16)), r'num_heads\[0\]=3 does not divide embed_dims\[0\]=64'),
        (dict(depths=(2, 0, 2, 2)), 'at least one block'),
        (dict(use_checkpoint='mlp'), r"use_checkpoint='mlp' is none of False, 'selective'"),
        (dict(video_size=(32, 240, 224)), r'fine_pysizes\[0\].* 7 does not divide the 60 tokens'),
        (dict(video_size=None), 'video_size must be three positive integers'),
        (dict(patch_size=(2, True, 4)), 'patch_size must be three positive integers'),
        (dict(video_size=(32, 224)), 'video_size must be three positive integers'),
        (dict(local_sizes=((8, 7, 0),) * 4), r'local_sizes\[0\] must be three positive'),
        (dict(local_sizes=((8, 4, 7),) * 4), r'multiple of the height and width of the window'),
    ],
)
def test_invalid_geometry_names_the_value(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DualFormer(**kwargs)
