"""Recognizer that learns a teacher's label of each token beside the clip's own label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from mmaction.registry import MODELS
from mmaction.utils import ConfigType, OptConfigType, OptSampleList

from .recognizer3d import Recognizer3D

__all__ = ['Recognizer3D_TL', 'Teacher']

TEACHER_CONFIG = (
    'configs/recognition/dualformer/dualformer_base_patch244_window877_kinetics400_1k.py'
)
TEACHER_CHECKPOINT = 'checkpoints/k400/dualformer_base_patch244_window877.pth'


@MODELS.register_module()
class Recognizer3D_TL(Recognizer3D):
    """`Recognizer3D` trained with token labels; in testing it is nothing else.

    The teacher is loaded for training only: by `load_teacher`, or with the first
    loss. It is no sub-module, so `train()`, the state dict, optimizers, averaged
    models and DDP know nothing of it. It is frozen, in eval mode, on the device of
    the clips, and runs in the precision that the student runs in.

    Source: Liang et al., DualFormer, arXiv:2112.04674.

    Args:
        backbone: Config of the backbone.
        cls_head: Config of the head, an `I3DHead_TL`.
        neck: Config of a module between the two.
        train_cfg: As in `Recognizer3D`.
        test_cfg: As in `Recognizer3D`.
        data_preprocessor: Config of the preprocessor; without blending, since a
            mixed clip has no label for each token.
        teacher: `dict(config=FILE, checkpoint=FILE)`; `dict(model=dict(type=...),
            checkpoint=FILE)`; or the model itself, `dict(type='Recognizer3D', ...)`,
            with the weights that its own config gives it. What is not given is
            DualFormer-B on Kinetics-400.

    Raises:
        ValueError: Blending, or a teacher that is none of these.
    """

    def __init__(
        self,
        backbone: ConfigType,
        cls_head: OptConfigType = None,
        neck: OptConfigType = None,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
        teacher: OptConfigType = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            cls_head=cls_head,
            neck=neck,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            data_preprocessor=data_preprocessor,
        )
        if getattr(self.data_preprocessor, 'blending', None) is not None:
            raise ValueError(
                'Recognizer3D_TL: data_preprocessor.blending is set, but mixup and cutmix do not '
                'go with token labeling: the teacher would have to label mixed clips. Set '
                'blending=None, or train without token labels (Recognizer3D with I3DHead)'
            )
        self._teacher = Teacher(**_teacher_arguments(teacher))

    @property
    def teacher(self) -> nn.Module | None:
        """The teacher, or None before it is loaded."""
        return self._teacher.model

    def load_teacher(self) -> None:
        """Load the teacher, if it is not loaded yet, and check that it fits.

        Raises:
            FileNotFoundError: Its config or checkpoint is not there.
            ValueError: Its weights do not fit, it has other classes, or its clips
                are normalized in another way.
        """
        if self._teacher.model is None:
            self._teacher.load(self.cls_head.num_classes, self.data_preprocessor)

    def loss(self, inputs: Tensor, data_samples: OptSampleList, **kwargs: Any) -> dict[str, Tensor]:
        """Losses of a batch (N, 1, C, T, H, W); see `I3DHead_TL.loss`."""
        self.load_teacher()
        feats, head_kwargs = self.extract_feat(inputs, data_samples=data_samples, stage='neck')
        losses = dict(head_kwargs.pop('loss_aux', {}))
        preds = self._teacher(inputs)
        losses.update(self.cls_head.loss(feats, data_samples, teacher_preds=preds, **head_kwargs))
        return losses


class Teacher:
    """A frozen recognizer that labels tokens. Not a module: whatever holds it does not own it.

    Args:
        config: Config file of the model, or None where `model` is given.
        model: Config of the model.
        checkpoint: Its weights; None for those that `model` itself gives.
    """

    def __init__(self, config: str | None, model: OptConfigType, checkpoint: str | None) -> None:
        self.config = config
        self.model_config = model
        self.checkpoint = checkpoint
        self.model: nn.Module | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Teacher:
        """Copies of the student, such as its moving average, share the teacher."""
        return self

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> Tensor:
        """Clips (N, 1, C, T, H, W) -> logits of tokens (N, T', H', W', K)."""
        assert self.model is not None
        if next(self.model.parameters()).device != inputs.device:
            self.model.to(inputs.device)
        y: Tensor = self.model(inputs, mode='tensor', stage='head')
        return y

    def load(self, num_classes: int, preprocessor: nn.Module) -> None:
        """Build the model and load its weights; see `Recognizer3D_TL.load_teacher`."""
        source = self._source()
        classes = source.get('cls_head', {}).get('num_classes')
        if classes != num_classes:
            raise ValueError(
                f'{self._name} has {classes} classes, the student num_classes={num_classes}: token '
                'labeling needs a teacher of the same classes. Set model.teacher to one'
            )
        self._check_file(self.checkpoint, 'checkpoint')
        # The first weights, which are overwritten, must not move the run's own random state.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            model = MODELS.build(_annotation_config(source, self.checkpoint is not None))
            if self.checkpoint is None:
                model.init_weights()
        _check_normalization(self._name, model.data_preprocessor, preprocessor)
        if self.checkpoint is None:
            print_log(f'{self._name} has no checkpoint of its own', 'current', level=30)
        else:
            self._load_weights(model, self.checkpoint)
        self.model = model.eval().requires_grad_(False)

    @property
    def _name(self) -> str:
        return f'the teacher {self.config or "given as a model"}'

    def _source(self) -> ConfigType:
        """The config of the model."""
        if self.model_config is not None:
            return self.model_config
        assert self.config is not None
        self._check_file(self.config, 'config')
        if not self.config.endswith('.py'):
            # mmengine makes any Python object that a YAML file asks for.
            raise ValueError(f'{self._name} has to be a Python config (.py)')
        model: ConfigType = Config.fromfile(self.config).model
        return model

    def _check_file(self, path: str | None, what: str) -> None:
        if path is None or '://' in path or Path(path).is_file():
            return
        raise FileNotFoundError(
            f"the teacher's {what} {path} is not there. Token labeling learns from a trained "
            'model: train one, or download DualFormer-B (checkpoints/README.md says where from), '
            f'and put it there or set --cfg-options model.teacher.{what}=FILE'
        )

    def _load_weights(self, model: nn.Module, path: str) -> None:
        loaded = CheckpointLoader.load_checkpoint(path, map_location='cpu')
        for key in ('state_dict', 'model'):
            if isinstance(loaded.get(key), dict):
                loaded = loaded[key]
        state = {
            name.replace('_orig_mod.', '').removeprefix('module.'): value
            for name, value in loaded.items()
            # a student that teaches in turn does so by its classifier
            if 'cls_head.token_linear.' not in name
        }
        problems = _misfits(state, model.state_dict())
        if problems:
            raise ValueError(
                f'{path} does not fit {self._name}: {problems}. Set model.teacher.config to the '
                'config that it was trained with, or model.teacher.checkpoint to another file'
            )
        model.load_state_dict(state, strict=True)
        print_log(f'{self._name}: loaded {len(state)} tensors from {path}', 'current')


def _teacher_arguments(teacher: OptConfigType) -> dict[str, Any]:
    """The arguments of `Teacher` for each form of the recognizer's `teacher`."""
    given = dict(teacher or {})
    if 'type' in given:
        return dict(config=None, model=given, checkpoint=None)
    unknown = sorted(set(given) - {'config', 'model', 'checkpoint'})
    if unknown or ('model' in given and given.get('config') is not None):
        raise ValueError(
            f'teacher has the keys {sorted(given)}: it takes config (a file) or model (a dict), '
            'and checkpoint; or is itself a model dict with a type'
        )
    checkpoint = given.get('checkpoint', TEACHER_CHECKPOINT)
    if given.get('model') is not None:
        return dict(config=None, model=given['model'], checkpoint=checkpoint)
    return dict(config=given.get('config', TEACHER_CONFIG), model=None, checkpoint=checkpoint)


def _annotation_config(source: ConfigType, weights_follow: bool) -> dict[str, Any]:
    """A recognizer's config, turned into one whose head labels tokens."""
    head = source['cls_head']
    backbone = dict(source['backbone'])
    if weights_follow and 'pretrained' in backbone:
        backbone['pretrained'] = None
    return dict(
        type='Recognizer3D',
        backbone=backbone,
        neck=source.get('neck'),
        cls_head=dict(
            type='I3DHead_Teacher',
            num_classes=head['num_classes'],
            in_channels=head['in_channels'],
        ),
        data_preprocessor=source.get('data_preprocessor'),
    )


def _misfits(state: dict[str, Any], expected: dict[str, Tensor]) -> str:
    """What keeps weights from fitting a model, the first of each kind; '' if they fit."""
    shapes = {name: tuple(getattr(value, 'shape', ())) for name, value in state.items()}
    kinds = {
        'not in the file': [name for name in expected if name not in state],
        'not in the model': [name for name in state if name not in expected],
        'of another shape': [
            f'{name} ({shapes[name]} in the file, {tuple(value.shape)} in the model)'
            for name, value in expected.items()
            if name in state and shapes[name] != value.shape
        ],
    }
    return '; '.join(
        f'{kind}: {names[0]}' + (f' and {len(names) - 1} more' if len(names) > 1 else '')
        for kind, names in kinds.items()
        if names
    )


def _check_normalization(name: str, theirs: nn.Module, ours: nn.Module) -> None:
    """The teacher sees the student's clips, so both must be normalized alike."""
    for key in ('mean', 'std'):
        a, b = getattr(theirs, key, None), getattr(ours, key, None)
        if a is None or b is None:
            continue
        if a.flatten().tolist() != b.flatten().tolist():
            raise ValueError(
                f'{name} was trained on clips of {key} {a.flatten().tolist()}, the student has '
                f'{b.flatten().tolist()}: both see the same clips, so data_preprocessor.{key} '
                'must be the same'
            )
