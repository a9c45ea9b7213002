"""Probes: each point of the grid as if it were alone, folding, choosing, and what is refused."""

import pytest
import torch

from mmaction.engine.probe import _LinearGrid, _train, check_probe, train_probe
from mmaction.errors import ConfigError
from mmaction.models import AttentiveHead, KNNHead, LinearHead


def blobs(seed, count=60, channels=6, classes=3, scale=1.0):
    """Clips around the center of their class, of channels with unlike means and deviations."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(classes, channels, generator=torch.Generator().manual_seed(0)) * 2
    labels = torch.arange(count) % classes
    noise = torch.randn(count, channels, generator=generator)
    return (centers[labels] + noise) * scale + 5.0, labels


def test_points_of_a_grid_train_as_if_they_were_alone():
    train, val = blobs(1), blobs(2)
    settings = dict(lrs=[1e-3, 3e-2], weight_decays=[0.0, 0.5], epochs=3, batch_size=16)
    together = train_probe(check_probe(dict(kind='linear', **settings)), train, val, 3)
    for point in together.points:
        alone = check_probe(
            dict(kind='linear', lrs=[point['lr']], weight_decays=[point['weight_decay']],
                 epochs=3, batch_size=16)
        )  # fmt: skip
        (found,) = train_probe(alone, train, val, 3).points
        assert found == point
    assert [p['accuracy'] for p in together.points] == sorted(
        (p['accuracy'] for p in together.points), reverse=True
    )


def test_learning_rate_and_weight_decay_are_those_of_the_point():
    """One step of AdamW from the same weights: p - lr (decay p + sign of the gradient)."""
    train, val = blobs(1, count=8), blobs(2)
    probe = check_probe(
        dict(kind='linear', lrs=[0.1, 0.2], weight_decays=[0.0, 0.5], epochs=1, batch_size=8)
    )
    grids = []

    class Spy(_LinearGrid):
        def __init__(self, *args):
            super().__init__(*args)
            self.first = self.weights[0].detach().clone()
            grids.append(self)

    _train(Spy, probe, train, val, 3)
    (grid,) = grids
    for order, (lr, decay) in enumerate([(0.1, 0.0), (0.1, 0.5), (0.2, 0.0), (0.2, 0.5)]):
        moved = grid.weights[order] - grid.first * (1 - lr * decay)
        torch.testing.assert_close(moved.abs(), torch.full_like(moved, lr), rtol=1e-4, atol=1e-5)


def test_linear_probe_takes_features_as_they_are():
    train, val = blobs(1, scale=1e-3), blobs(2, scale=1e-3)
    result = train_probe(check_probe(dict(kind='linear', epochs=30)), train, val, 3)
    head = LinearHead(3, 6)
    head.load_state_dict(result.head)
    accuracy = (head(val[0]).argmax(1) == val[1]).double().mean().item()
    assert accuracy == result.points[0]['accuracy'] > 0.8
    assert len(result.points) == 9


def test_accuracies_of_a_linear_probe_are_those_of_its_head_on_a_shifted_split():
    """Validation is scaled by the mean and deviation of training, not by its own."""
    (x, y), probe = blobs(2), check_probe(dict(kind='linear'))
    few = (x[y == 0], y[y == 0])
    result = train_probe(probe, blobs(1), few, 3)
    head = LinearHead(3, 6)
    head.load_state_dict(result.head)
    accuracy = (head(few[0]).argmax(1) == few[1]).double().mean().item()
    assert accuracy == result.points[0]['accuracy']


def test_neighbors_vote_by_their_cosine():
    head = KNNHead(2, 2, bank_size=3, k=2, temperature=0.5)
    head.remember(torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]]), torch.tensor([0, 1, 0]))
    query = torch.tensor([[3.0, 4.0]])  # cosines 0.6, 0.8, -0.6
    e = torch.tensor([0.6, 0.8]).div(0.5).softmax(0)
    torch.testing.assert_close(head(query).exp(), e[None])
    result = train_probe(check_probe(dict(kind='knn', ks=[1, 7])), blobs(1), blobs(2), 3)
    again = KNNHead(3, 6, **result.options)
    again.load_state_dict(result.head)
    x, y = blobs(2)
    accuracy = (again(x).argmax(1) == y).double().mean().item()
    assert accuracy == max(point['accuracy'] for point in result.points)


def test_attentive_probe_finds_one_token_among_many():
    """The class is in one token at a random place, marked by a channel; the mean hides it."""

    def clips(seed, count=240):
        g = torch.Generator().manual_seed(seed)
        x = torch.randn(count, 8, 2, 3, 3, generator=g)
        y = torch.randint(0, 2, (count,), generator=g)
        place = torch.randint(0, 18, (count,), generator=g)
        flat = x.flatten(2)
        flat[torch.arange(count), 0, place] = 6.0
        flat[torch.arange(count), 1, place] = 4.0 * y - 2.0
        return flat.unflatten(2, (2, 3, 3)), y

    train, val = clips(1), clips(2)
    probe = dict(kind='attentive', lrs=[3e-2], weight_decays=[0.01], epochs=20, num_heads=2,
                 batch_size=32)  # fmt: skip
    result = train_probe(check_probe(probe), train, val, 2)
    assert result.points[0]['accuracy'] > 0.95
    linear = train_probe(check_probe(dict(kind='linear')), train, val, 2)
    assert linear.points[0]['accuracy'] < 0.9
    head = AttentiveHead(2, 8, **result.options)
    head.load_state_dict(result.head)
    found = (head(val[0]).argmax(1) == val[1]).double().mean().item()
    assert found == result.points[0]['accuracy']


def test_attentive_head_equals_attention_of_torch():
    torch.manual_seed(0)
    head = AttentiveHead(3, 8, num_heads=2).eval()
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        for weight in head.parameters():
            weight.normal_(std=0.3)
        theirs.in_proj_weight.copy_(torch.cat((head.q.weight, head.kv.weight)))
        theirs.in_proj_bias.copy_(torch.cat((head.q.bias, head.kv.bias)))
        theirs.out_proj.load_state_dict(head.proj.state_dict())
        x = torch.randn(2, 8, 1, 3, 3)
        tokens = head.norm1(x.flatten(2).mT)
        query = head.query.expand(2, -1, -1)
        y = query + theirs(query, tokens, tokens)[0]
        y = y + head.mlp(head.norm2(y))
        torch.testing.assert_close(head(x), head.fc_cls(y[:, 0]))
        frames = x.expand(2, 8, 4, 3, 3).transpose(1, 2).flatten(0, 1)
        torch.testing.assert_close(head(frames, num_segs=4), head(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ('probe', 'message'),
    [
        (dict(kind='linaer'), r'probe\.kind: .*none of linear'),
        (dict(kind='linear', lr=[1]), r'probe\.lr: a linear probe has no such key; known are lrs'),
        (dict(kind='linear', lrs=[]), r'probe\.lrs: \[\], expected numbers'),
        (dict(kind='knn', ks=[0]), r'probe\.ks: \[0\], expected numbers above 0'),
    ],
)
def test_settings_that_cannot_be_meant(probe, message):
    with pytest.raises(ConfigError, match=message):
        check_probe(probe)


def test_labels_and_features_that_do_not_fit():
    linear = check_probe(dict(kind='linear'))
    with pytest.raises(ConfigError, match='outside the 2 classes'):
        train_probe(linear, blobs(1), blobs(2), 2)
    x, y = blobs(1)
    with pytest.raises(ConfigError, match='take one label'):
        train_probe(linear, (x, torch.nn.functional.one_hot(y)), blobs(2), 3)
    with pytest.raises(ConfigError, match='attends to tokens'):
        train_probe(check_probe(dict(kind='attentive')), blobs(1), blobs(2), 3)
