"""Backbones of transformers, as `type='transformers.FOLDER'` or `'transformers.ORG/REPO@REVISION'`.

VideoMAE, TimeSformer, ViViT, V-JEPA 2 and any model of images, which sees frames one by one.
Names in the state dict are the library's, without a prefix.

Shapes: B clips, (T, H, W) the grid of patches, L tokens, of which the first may be a class token
and registers, C channels.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import Registry
from torch import Tensor, nn

from mmaction.errors import CheckpointError
from mmaction.registry import MODELS
from mmaction.utils.hub import model_folder, require
from mmaction.utils.suggest import did_you_mean
from mmaction.utils.transformers_folder import (
    frames_of,
    model_config,
    quietly,
    size_keys,
    size_of,
)

from .external import ExternalBackbone
from .vit_mae import sinusoids

__all__ = ['TransformersBackbone']

_OUTPUTS = ('pooled', 'map')
_POSITIONS = 'embeddings.position_embeddings'


class TransformersBackbone(ExternalBackbone):
    """A model of transformers without its heads.

    The class is made by `type='transformers.NAME'`, where NAME is a local folder as
    `save_pretrained` writes it, `ORG/REPO@REVISION` of the Hub, or a model type such as
    `videomae` with the values of its config as arguments, whose weights are random.

    Args:
        pretrained: What `init_weights` loads: None for the weights of the folder or repository
            itself (.safetensors only), False for none, or another checkpoint.
        num_frames: Frames of a clip, where they are not those of the model; learned and fixed
            position codes are interpolated.
        img_size: Height and width of a frame; likewise.
        output: 'pooled' gives the vector that the model's own classifier sees, as
            (B, C, 1, 1, 1): the class token, or the mean of the tokens where there is none;
            'map' the patch tokens (B, C, T, H, W). A model of images gives a map or a vector
            for each frame, (B, C, T, H, W) and (B, C, T, 1, 1) of clips, (B, C, H, W) and
            (B, C, 1, 1) of frames.
        with_cp: Compute blocks again in the backward pass to save memory.
        overrides: Other values of the model's config, such as `attention_probs_dropout_prob`.

    Raises:
        ConfigError: There is no such model, or its revision is not pinned.
        ValueError: It takes no clips or images, an unknown `output`, or an override that its
            config does not have.
    """

    def __init__(
        self,
        pretrained: bool | str | None = None,
        num_frames: int | None = None,
        img_size: int | None = None,
        output: str = 'pooled',
        with_cp: bool = False,
        **overrides: Any,
    ) -> None:
        if output not in _OUTPUTS:
            raise ValueError(f'output={output!r} is none of {_OUTPUTS}')
        super().__init__(pretrained, num_frames=num_frames, img_size=img_size, **overrides)
        self.output = output
        if self.folder is not None and pretrained is None:
            self.pretrained = True
        if with_cp:
            # The reentrant kind needs inputs that require gradients, which clips do not.
            self.net.gradient_checkpointing_enable(dict(use_reentrant=False))

    def _make(
        self, num_frames: int | None = None, img_size: int | None = None, **overrides: Any
    ) -> tuple[nn.Module, tuple[str, ...]]:
        require('transformers', f'transformers.{self.name}')
        self.folder: Path | None = None
        if _is_model_type(self.name):
            with quietly():
                from transformers import AutoConfig

                config = AutoConfig.for_model(self.name, **overrides)
        else:
            self.folder = model_folder(self.name)
            config = model_config(self.folder)
            for key, value in overrides.items():
                if not hasattr(config, key):
                    hint = did_you_mean(key, config.to_dict())
                    raise ValueError(f'transformers.{self.name} has no config key {key!r}{hint}')
                setattr(config, key, value)
        own_grid = _grid(config)
        for key, given in zip(size_keys(config), (num_frames, img_size), strict=True):
            if given is not None:
                setattr(config, key, given)
        # A model type has no weights whose position codes would be of another grid.
        self._own_grid = _grid(config) if self.folder is None else own_grid
        self.config = config
        net = _bare_network(config, self.name)
        if config.model_type == 'videomae':
            if config.use_mean_pooling:  # the classifier has it behind the mean of the tokens
                net.fc_norm = nn.LayerNorm(config.hidden_size)
            if _grid(config) != self._own_grid:
                T, H, W = self._own_grid
                codes = sinusoids(T * H * W, config.hidden_size)
                net.embeddings.position_embeddings = _resized(codes, self._own_grid, _grid(config))
        return net, ()

    def full_config(self) -> dict[str, Any]:
        """The arguments that make the same network, with random weights, without its folder."""
        values = self.config.to_diff_dict()
        for key in ('transformers_version', 'architectures', 'dtype', 'auto_map'):
            values.pop(key, None)
        kind = values.pop('model_type', self.config.model_type)
        return dict(type=f'transformers.{kind}', output=self.output, **values)

    # ------------------------------------------------------------ weights

    def _own_weights(self) -> str:
        assert self.folder is not None
        return str(self.folder)

    def _read(self, source: str) -> dict[str, Tensor]:
        """Weights of a folder of transformers, through its own renaming, or of any checkpoint."""
        folder = Path(source)
        return self._fitted(self._of_folder(folder) if folder.is_dir() else super()._read(source))

    def _of_folder(self, folder: Path) -> dict[str, Tensor]:
        files = sorted(folder.glob('*.safetensors'))
        if not files:
            raise CheckpointError(
                f'{folder} holds no .safetensors file; other formats may run code and are not '
                'read: save the model again with save_pretrained'
            )
        with quietly():
            from transformers import AutoModel

            try:
                loaded, info = AutoModel.from_pretrained(
                    folder,
                    use_safetensors=True,
                    trust_remote_code=False,
                    local_files_only=True,
                    dtype=torch.float32,
                    output_loading_info=True,
                )
            except (OSError, ValueError, RuntimeError, KeyError) as error:
                text = ' '.join(str(error).split()).split('. ')[0]
                raise CheckpointError(f'{folder} cannot be read: {text}') from error
        own = self.net.state_dict()
        state = {name: value for name, value in loaded.state_dict().items() if name in own}
        # What a file lacks comes back at random.
        for name in info['missing_keys']:
            state.pop(name, None)
        if 'fc_norm.weight' in own:
            state.update(_norm_of_mean(files, own))
        return state

    def _fitted(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Position codes of another clip length or frame size, interpolated."""
        codes, own = state.get(_POSITIONS), self.net.state_dict().get(_POSITIONS)
        new, old = _grid(self.config), self._own_grid
        if codes is not None and own is not None and codes.shape != own.shape:
            if self.config.model_type == 'timesformer':
                new, old = (1, *new[1:]), (1, *old[1:])
            state[_POSITIONS] = _resized(codes, old, new)
        times = state.get('embeddings.time_embeddings')
        if times is not None and new != old and times.shape[1] != self.config.num_frames:
            state['embeddings.time_embeddings'] = F.interpolate(
                times.mT, self.config.num_frames, mode='linear'
            ).mT
        return state

    # ------------------------------------------------------------ clips

    @property
    def cam_layer(self) -> str | None:
        """The last block whose patch tokens count: the one before last with a class token."""
        lists = [
            (name, module)
            for name, module in self.net.named_modules()
            if isinstance(module, nn.ModuleList) and len(module) > 1
        ]
        if not lists:
            return None
        name = max(lists, key=lambda item: len(item[1]))[0]
        return f'{name.replace(".", "/")}/{-2 if self._has_class_token() else -1}'

    def _has_class_token(self) -> bool:
        if frames_of(self.config) is None:
            return any(name.endswith('cls_token') for name, _ in self.net.named_parameters())
        return self.config.model_type in ('timesformer', 'vivit')

    def token_map(self, tokens: Tensor, clip_shape: tuple[int, int, int]) -> Tensor:
        """Tokens of a block (B, L, C), of a model of images (B T', L, C) -> map (B, C, T, H, W)."""
        if frames_of(self.config) is None:
            maps: Tensor = _image_map(self.config, tokens).unflatten(0, (-1, clip_shape[0]))
            return maps.transpose(1, 2)
        return self._clip_map(tokens)

    def _clip_map(self, tokens: Tensor) -> Tensor:
        T, H, W = _grid(self.config)
        patches = tokens[:, tokens.shape[1] - T * H * W :].mT  # (B, C, patches)
        in_time = self.config.model_type == 'timesformer'  # patches of one place, one after another
        grid: Tensor = patches.unflatten(2, (H, W, T) if in_time else (T, H, W))
        return grid.permute(0, 1, 4, 2, 3) if in_time else grid

    def forward(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T', H', W'), or frames (B, 3, H', W') -> features, as `output` says.

        Raises:
            ValueError: Clips of other sizes than the model is made for.
        """
        frames, size = frames_of(self.config), size_of(self.config)
        self._check(tuple(x.shape[2:]), frames, size)
        if frames is None:
            if x.ndim == 4:
                return self._images(x)
            # Not len(x), which an export would take for a constant.
            by_clip = (x.shape[0], x.shape[2])
            y: Tensor = self._images(x.transpose(1, 2).flatten(0, 1)).unflatten(0, by_clip)
            return y.transpose(1, 2)
        clips = x.transpose(1, 2)  # (B, T', 3, H', W')
        if self.config.model_type == 'vjepa2':
            out = self.net(pixel_values_videos=clips, skip_predictor=True)
        else:
            out = self.net(pixel_values=clips)
        tokens: Tensor = out.last_hidden_state
        if self.output == 'map':
            return self._clip_map(tokens)
        pooled = tokens[:, 0] if self._has_class_token() else tokens.mean(1)
        norm = getattr(self.net, 'fc_norm', None)
        y = pooled if norm is None else norm(pooled)
        return y[..., None, None, None]

    def _check(self, shape: tuple[int, ...], frames: int | None, size: int | None) -> None:
        expected = shape[:-2] if frames is None else (frames,)
        expected += shape[-2:] if size is None else (size, size)
        if shape != expected:
            axes = '(T, H, W)' if len(shape) == 3 else '(H, W)'
            raise ValueError(
                f'transformers.{self.name} takes clips of {expected} {axes}, not {shape}: change '
                'the pipeline, or set num_frames and img_size of the backbone'
            )

    def _images(self, x: Tensor) -> Tensor:
        """(B, 3, H', W') -> (B, C, H, W), or (B, C, 1, 1)."""
        out = self.net(pixel_values=x)
        tokens: Tensor = out.last_hidden_state
        if self.output == 'map':
            return _image_map(self.config, tokens)
        pooled: Tensor | None = getattr(out, 'pooler_output', None)
        if pooled is None and tokens.ndim == 4:
            pooled = tokens.mean((2, 3))
        elif pooled is None:
            pooled = tokens[:, 0] if self._has_class_token() else tokens.mean(1)
        return pooled.flatten(1)[..., None, None]


def _is_model_type(name: str) -> bool:
    """Whether a name is that of an architecture, such as `videomae`."""
    if Path(name).expanduser().is_dir() or '/' in name:
        return False
    with quietly():
        from transformers import CONFIG_MAPPING

        return name in CONFIG_MAPPING


def _bare_network(config: Any, name: str) -> Any:
    """The network of a config, at random, without heads, predictors and poolers that learn."""
    with quietly():
        from transformers import AutoModel

        try:
            net = AutoModel.from_config(config, trust_remote_code=False)
        except (ValueError, KeyError) as error:
            text = ' '.join(str(error).split()).split('. ')[0]
            raise ValueError(
                f'transformers.{name} is no model of clips or images: {text}'
            ) from error
    if net.main_input_name not in ('pixel_values', 'pixel_values_videos'):
        raise ValueError(
            f'transformers.{name} ({config.model_type}) takes {net.main_input_name}, not clips or '
            'images'
        )
    # A dense layer behind the class token that classifiers do not see, and at random in most.
    if isinstance(getattr(getattr(net, 'pooler', None), 'dense', None), nn.Linear):
        net.pooler = None
    if config.model_type == 'vjepa2':
        net.predictor = nn.Identity()
    return net


def _norm_of_mean(files: list[Path], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The norm behind the mean of the tokens: of the files, or as it is where they lack it."""
    from safetensors import safe_open

    names = ('fc_norm.weight', 'fc_norm.bias')
    found = {name: own[name] for name in names}
    for path in files:
        with safe_open(path, 'pt') as file:
            there = set(file.keys())
            found.update({name: file.get_tensor(name) for name in names if name in there})
    return found


def _grid(config: object) -> tuple[int, int, int]:
    """Patches of a clip or image along time, height and width; zeros where none are counted."""
    patch = getattr(config, 'patch_size', None)
    step = getattr(config, 'tubelet_size', 1)
    if isinstance(step, (list, tuple)):
        step, *patch = step
    size = size_of(config)
    if patch is None or size is None:
        return 0, 0, 0
    height, width = patch if isinstance(patch, (list, tuple)) else (patch, patch)
    return (frames_of(config) or 1) // step, size // height, size // width


def _image_map(config: object, tokens: Tensor) -> Tensor:
    """Tokens of images (B, L, C) -> (B, C, H, W); maps of convolutions stay."""
    if tokens.ndim == 4:
        return tokens
    _, H, W = _grid(config)
    if H * W == 0 or tokens.shape[1] < H * W:  # a pyramid, whose last grid is smaller
        H = W = math.isqrt(tokens.shape[1])
    image: Tensor = tokens[:, tokens.shape[1] - H * W :].mT.unflatten(2, (H, W))
    return image


def _resized(codes: Tensor, old: tuple[int, int, int], new: tuple[int, int, int]) -> Tensor:
    """Position codes (1, L, C) of one grid for another: bicubic in space, linear in time.

    Those of class tokens, which come first, stay.
    """
    others, patches = codes.split([codes.shape[1] - math.prod(old), math.prod(old)], 1)
    grid = patches[0].unflatten(0, old).permute(0, 3, 1, 2)  # (T, C, H, W)
    if old[1:] != new[1:]:
        grid = F.interpolate(grid, size=new[1:], mode='bicubic', align_corners=False)
    if old[0] != new[0]:
        series = grid.flatten(1).T[None]  # (1, C H W, T)
        series = F.interpolate(series, size=new[0], mode='linear', align_corners=False)
        grid = series[0].T.unflatten(1, grid.shape[1:])
    return torch.cat((others, grid.permute(0, 2, 3, 1).flatten(0, 2)[None]), 1)


class _Transformers(Registry):
    """Models of transformers under their folders and names."""

    def __init__(self) -> None:
        super().__init__('model', parent=MODELS, scope='transformers')

    def get(self, key: str) -> type[TransformersBackbone]:
        """The backbone of a name; whether there is such a model shows when it is built."""
        if key not in self._module_dict:
            self._module_dict[key] = type(key, (TransformersBackbone,), dict(name=key))
        return self._module_dict[key]


TRANSFORMERS = _Transformers()
