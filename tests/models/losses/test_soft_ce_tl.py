"""The loss of token labeling: the published values, and the masked variant."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mmaction.models.losses import SoftCE_TL

GOLDEN = json.loads(
    (Path(__file__).parents[2] / 'golden' / 'token_label_loss.json').read_text(encoding='utf-8')
)


def draw(seed, B, N, C):
    """The inputs of a golden case, in the order that tests/golden/README.md gives."""
    r = np.random.RandomState(seed)
    shapes = ((B, C), (B * N, C), (B * N, C))
    logits = [torch.tensor(r.standard_normal(shape) * 2, dtype=torch.float32) for shape in shapes]
    return *logits, torch.tensor(r.randint(0, C, B))


@pytest.mark.parametrize('case', GOLDEN, ids=lambda case: f'{case["C"]} classes')
def test_published_values(device, case):
    inputs = draw(*(case[key] for key in ('seed', 'B', 'N', 'C')))
    loss = SoftCE_TL()
    assert loss(*inputs).item() == pytest.approx(case['loss'], rel=1e-5)
    of_clips, of_tokens = loss.parts(*inputs)
    assert of_clips.item() == pytest.approx(case['loss_cls'], rel=1e-5)
    assert of_tokens.item() == pytest.approx(case['loss_token'], rel=1e-5)


@pytest.mark.parametrize('case', GOLDEN, ids=lambda case: f'{case["C"]} classes')
def test_published_call(device, case):
    score, tokens, teacher, target = draw(*(case[key] for key in ('seed', 'B', 'N', 'C')))
    named = dict(token_preds=tokens, teacher_preds=teacher)
    loss = SoftCE_TL(gamma=0.9)
    assert loss(score, target, **named, gamma=0.5).item() == pytest.approx(case['loss'], rel=1e-5)
    own = 0.9 * case['loss_cls'] + 0.1 * case['loss_token']
    for call in (
        loss(score, target, **named),
        loss(score, target=target, **named),
        loss(score, tokens, teacher, target),
        loss(score, tokens, teacher_preds=teacher, target=target),
        loss(cls_score=score, target=target, **named),
    ):
        assert call.item() == pytest.approx(own, rel=1e-5)
    # gamma of a call is not kept, and 0 is one
    assert loss.gamma == 0.9
    of_tokens = loss(score, target, **named, gamma=0)
    assert of_tokens.item() == pytest.approx(case['loss_token'], rel=1e-5)


def test_published_call_names_what_is_missing():
    score, tokens, teacher, target = draw(1, 2, 6, 7)
    with pytest.raises(TypeError, match='teacher_preds'):
        SoftCE_TL()(score, target, token_preds=tokens)
    with pytest.raises(TypeError, match='target'):
        SoftCE_TL()(score, target, tokens, teacher, target=target)
    with pytest.raises(ValueError, match=r'gamma=1\.5 must lie in 0 to 1'):
        SoftCE_TL()(score, target, token_preds=tokens, teacher_preds=teacher, gamma=1.5)


@pytest.mark.parametrize('kind', ['published', 'masked'])
def test_soft_labels_against_a_plain_loop(device, kind):
    logits = torch.tensor([[3.0, 1.0, 2.0, -4.0], [1.0, 1.0, 1.0, -1.0], [-3.0, -2.0, -5.0, -9.0]])
    rest = 0.0 if kind == 'published' else float('-inf')
    kept = [{0, 2}, {0, 1, 2}, {0, 1}]  # the tie of the second row is kept
    expected = torch.stack(
        [
            torch.tensor([row[c] if c in classes else rest for c in range(4)]).softmax(0)
            for row, classes in zip(logits.tolist(), kept, strict=True)
        ]
    )
    assert torch.allclose(SoftCE_TL(k=2, soft_label=kind).soft_labels(logits), expected)


def test_masked_and_published_soft_labels(device):
    logits = torch.randn(6, 9)
    assert (SoftCE_TL(soft_label='masked').soft_labels(logits) == 0).sum() == 6 * 4
    assert (SoftCE_TL().soft_labels(logits) > 0).all()
    # with as many classes as k or fewer, nothing is left out
    assert torch.allclose(SoftCE_TL(k=20).soft_labels(logits), logits.softmax(1))


def test_gamma_and_weight(device):
    inputs = draw(1, 2, 6, 7)
    of_clips, of_tokens = SoftCE_TL().parts(*inputs)
    assert torch.equal(SoftCE_TL(gamma=1.0)(*inputs), of_clips)
    assert torch.equal(SoftCE_TL(gamma=0.0)(*inputs), of_tokens)
    assert torch.allclose(
        SoftCE_TL(gamma=0.25, loss_weight=3.0)(*inputs), 3 * (0.25 * of_clips + 0.75 * of_tokens)
    )


def test_half_precision_is_computed_in_fp32(device):
    cls_score, tokens, teacher, target = draw(2, 2, 6, 7)
    half = [x.bfloat16() for x in (cls_score, tokens, teacher)]
    loss = SoftCE_TL()(*half, target)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, SoftCE_TL()(*(x.float() for x in half), target))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(k=0), 'k=0'),
        (dict(gamma=1.5), 'gamma=1.5'),
        (dict(soft_label='mask'), "soft_label='mask' is none of"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SoftCE_TL(**arguments)
