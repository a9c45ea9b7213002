"""Recognizer3D_TL: a teacher that labels tokens and is no part of the student."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage

from mmaction.models import Recognizer3D_TL
from mmaction.models.heads.i3d_head import match_grid
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample

CLASSES = 6


def backbone(width=8, **changes):
    return dict(
        type='DualFormer',
        arch=dict(
            embed_dims=[width],
            num_heads=[2],
            depths=[2],
            mlp_ratios=[1],
            local_sizes=[[2, 2, 2]],
            fine_pysizes=[[2, 2, 2]],
            coarse_pysizes=[[1, 1, 1]],
        ),
        video_size=[4, 16, 16],
        **changes,
    )


def teacher_model(width=12, classes=CLASSES, mean=100, head='I3DHead', **changes):
    return dict(
        type='Recognizer3D',
        backbone=backbone(width, drop_rate=0.3, drop_path_rate=0.3, **changes),
        cls_head=dict(type=head, num_classes=classes, in_channels=width, dropout_ratio=0.5),
        data_preprocessor=dict(
            type='ActionDataPreprocessor', mean=[mean] * 3, std=[50] * 3, format_shape='NCTHW'
        ),
    )


def student(teacher, **preprocessor):
    return MODELS.build(
        dict(
            type='Recognizer3D_TL',
            backbone=backbone(8),
            cls_head=dict(type='I3DHead_TL', num_classes=CLASSES, in_channels=8),
            data_preprocessor=dict(
                type='ActionDataPreprocessor',
                mean=[100] * 3,
                std=[50] * 3,
                format_shape='NCTHW',
                **preprocessor,
            ),
            test_cfg=dict(average_clips='prob'),
            teacher=teacher,
        )
    )


def data(n=2, views=1):
    clips = [torch.randint(0, 256, (views, 3, 4, 16, 16), dtype=torch.uint8) for _ in range(n)]
    return dict(inputs=clips, data_samples=[ActionDataSample().set_gt_label(i) for i in range(n)])


@pytest.fixture
def trained(tmp_path):
    """A teacher's config file and checkpoint, and the model itself."""
    model = MODELS.build(teacher_model())
    torch.nn.init.normal_(model.cls_head.fc_cls.weight)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_()
    Config(dict(model=teacher_model())).dump(tmp_path / 'teacher.py')
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'teacher.pth')
    files = dict(config=str(tmp_path / 'teacher.py'), checkpoint=str(tmp_path / 'teacher.pth'))
    return files, model.eval()


def test_loss_uses_teacher_tokens(trained):
    files, reference = trained
    model = student(files)
    batch = model.data_preprocessor(data(), True)
    model.eval()
    losses = model(**batch, mode='loss')
    features = model(batch['inputs'])
    with torch.no_grad():
        tokens = reference.cls_head.fc_cls(reference(batch['inputs']).movedim(1, -1))
    expected = model.cls_head.loss(features, batch['data_samples'], match_grid(tokens, (2, 4, 4)))
    assert set(losses) == {'loss_cls', 'token_acc', 'top1_acc', 'top5_acc'}
    assert torch.equal(losses['loss_cls'], expected['loss_cls'])


def test_gradients_reach_the_student_and_not_the_teacher(trained):
    model = student(trained[0])
    model(**model.data_preprocessor(data(), True), mode='loss')['loss_cls'].backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.cls_head.token_linear[0].weight.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in model.teacher.parameters())
    clips = torch.zeros(1, 1, 3, 4, 16, 16, requires_grad=True)
    assert not model._teacher(clips).requires_grad


def test_teacher_is_not_a_submodule(trained):
    model = student(trained[0])
    names = set(model.state_dict())
    assert model.teacher is None  # nothing is loaded before it is needed
    model.load_teacher()
    teacher = model.teacher
    assert set(model.state_dict()) == names
    assert not any('teacher' in name for name, _ in model.named_modules())
    mine = {id(p) for p in model.parameters()}
    assert not mine & {id(p) for p in teacher.parameters()}
    # `train` does not switch its dropout on, and a step moves neither weights nor statistics
    before = copy.deepcopy(teacher.state_dict())
    model.train()
    assert not any(module.training for module in teacher.modules())
    batch = model.data_preprocessor(data(), True)
    first, second = (model._teacher(batch['inputs']) for _ in range(2))
    assert torch.equal(first, second)
    model(**batch, mode='loss')['loss_cls'].backward()
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_a_moving_average_shares_the_teacher(trained):
    model = student(trained[0])
    model.load_teacher()
    average = ExponentialMovingAverage(model)
    assert average.module.teacher is model.teacher
    assert sum(p.numel() for p in average.module.parameters()) == sum(
        p.numel() for p in model.parameters()
    )


def test_loading_the_teacher_keeps_random_state(trained):
    for teacher in (trained[0], teacher_model()):
        model = student(teacher)
        state = torch.get_rng_state()
        model.load_teacher()
        assert torch.equal(torch.get_rng_state(), state)


def test_teacher_runs_under_student_autocast(trained):
    model = student(trained[0])
    batch = model.data_preprocessor(data(), True)
    seen = []
    model.load_teacher()
    model.teacher.cls_head.register_forward_hook(lambda *args: seen.append(args[2].dtype))
    with torch.autocast('cpu', torch.bfloat16):
        loss = model(**batch, mode='loss')['loss_cls']
    assert seen == [torch.bfloat16]
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_teacher_follows_input_device(trained):
    model = student(trained[0])
    model.load_teacher()
    tokens = model._teacher(torch.zeros(2, 1, 3, 4, 16, 16, device='meta'))
    assert tokens.device.type == 'meta'
    assert tokens.shape == (2, 2, 4, 4, CLASSES)
    assert {p.device.type for p in model.teacher.parameters()} == {'meta'}
    assert {p.device.type for p in model.parameters()} == {'cpu'}


def test_tokens_reach_both_classifiers_channels_last_and_without_a_copy(trained):
    model = student(trained[0])
    model.load_teacher()
    seen = []
    for layer in (model.teacher.cls_head.fc_cls, model.cls_head.token_linear[0]):
        layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    for net in (model.teacher, model):
        net.backbone.register_forward_hook(lambda *args: seen.append(args[2]))
    model(**model.data_preprocessor(data(), True), mode='loss')
    student_map, teacher_map, teacher_tokens, student_tokens = seen
    for tokens, features in ((teacher_tokens, teacher_map), (student_tokens, student_map)):
        assert tokens.is_contiguous()
        assert tokens.data_ptr() == features.data_ptr()


def test_ddp_reduces_no_gradient_and_no_buffer_of_it(trained, tmp_path):
    model = student(trained[0])
    model.load_teacher()
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1
    )
    try:
        wrapped = torch.nn.parallel.DistributedDataParallel(model)
        facts = wrapped._get_ddp_logging_data()
        assert facts['num_parameter_tensors'] == len(list(model.parameters()))
        statistics = {id(buffer) for buffer in model.teacher.buffers()}
        assert statistics
        assert not statistics & {id(buffer) for buffer in wrapped.modules_buffers}
    finally:
        torch.distributed.destroy_process_group()


def test_testing_never_loads_the_teacher():
    model = student(dict(config='nowhere.py', checkpoint='nowhere.pth')).eval()
    predictions = model.test_step(data(2, views=3))
    assert predictions[0].pred_score.sum().item() == pytest.approx(1, abs=1e-5)
    assert model.teacher is None
    with pytest.raises(FileNotFoundError, match=r'config nowhere\.py is not there.*README'):
        model(**model.data_preprocessor(data(), True), mode='loss')


def test_missing_checkpoint_and_defaults(trained, tmp_path, monkeypatch):
    files, _ = trained
    monkeypatch.chdir(tmp_path)
    missing = student(dict(config=files['config'], checkpoint='no/such.pth'))
    with pytest.raises(
        FileNotFoundError, match=r'no/such\.pth is not there.*model\.teacher\.check'
    ):
        missing.load_teacher()
    Path('no.yaml').write_text('model: !!python/object/apply:os.mkdir [proof]')
    with pytest.raises(ValueError, match=r'the teacher no\.yaml has to be a Python config'):
        student(dict(config='no.yaml', checkpoint='no/such.pth')).load_teacher()
    assert not Path('proof').exists()
    default = student(None)._teacher
    assert default.config.endswith('dualformer_base_patch244_window877_kinetics400_1k.py')
    assert default.checkpoint == 'checkpoints/k400/dualformer_base_patch244_window877.pth'


def test_teacher_is_loaded_strictly(trained, tmp_path):
    files, reference = trained
    state = reference.state_dict()
    del state['backbone.norm.bias']
    torch.save(state, tmp_path / 'part.pth')
    with pytest.raises(ValueError, match=r'(?s)part\.pth does not fit the teacher.*norm\.bias'):
        student(dict(files, checkpoint=str(tmp_path / 'part.pth'))).load_teacher()
    state = {**reference.state_dict(), 'cls_head.more': torch.zeros(1)}
    torch.save(state, tmp_path / 'more.pth')
    with pytest.raises(ValueError, match=r'(?s)more\.pth does not fit.*cls_head\.more'):
        student(dict(files, checkpoint=str(tmp_path / 'more.pth'))).load_teacher()


def test_mismatched_teacher_weights_are_one_error(trained, tmp_path):
    files, _ = trained
    torch.save(MODELS.build(teacher_model(8)).state_dict(), tmp_path / 'narrow.pth')
    with pytest.raises(ValueError, match='does not fit') as caught:
        student(dict(files, checkpoint=str(tmp_path / 'narrow.pth'))).load_teacher()
    message = str(caught.value)
    assert 'backbone.patch_embeds.0.proj.weight ((8, 3, 2, 4, 4) in the file, (12,' in message
    assert 'Set model.teacher.config to the config that it was trained with' in message
    assert message.count('backbone.') == 1


def test_other_classes_and_other_normalization_are_refused():
    with pytest.raises(ValueError, match='has 7 classes, the student num_classes=6'):
        student(teacher_model(classes=7)).load_teacher()
    with pytest.raises(ValueError, match=r'mean \[90.0, 90.0, 90.0\], the student'):
        student(teacher_model(mean=90)).load_teacher()


def test_trained_student_can_be_a_teacher(trained, tmp_path):
    first = student(trained[0])
    torch.save(first.state_dict(), tmp_path / 'student.pth')
    source = teacher_model(8, head='I3DHead_TL')
    source['backbone'] = backbone(8)
    second = student(
        dict(model=dict(source, type='Recognizer3D_TL'), checkpoint=str(tmp_path / 'student.pth'))
    )
    second.load_teacher()
    clips = torch.randn(1, 1, 3, 4, 16, 16)
    expected = first.eval().cls_head.fc_cls(first(clips).movedim(1, -1))
    assert torch.equal(second._teacher(clips), expected.detach())


@pytest.mark.parametrize(
    'blending',
    [
        dict(type='MixupBlending', num_classes=CLASSES),
        dict(type='CutmixBlending', num_classes=CLASSES),
    ],
)
def test_mixing_clips_is_refused(blending):
    with pytest.raises(ValueError, match='mixup and cutmix do not go with token labeling'):
        student(teacher_model(), blending=blending)


def test_misspelt_teacher_is_refused():
    with pytest.raises(ValueError, match=r"keys \['ckpt', 'config'\]"):
        student(dict(config='a.py', ckpt='a.pth'))
    with pytest.raises(ValueError, match=r'it takes config .a file. or model'):
        Recognizer3D_TL(backbone(), teacher=dict(config='a.py', model=teacher_model()))
