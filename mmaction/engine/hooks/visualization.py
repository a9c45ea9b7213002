"""Clips with their labels and predictions, while a model is validated or tested."""

from __future__ import annotations

import os.path as osp
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.hooks import Hook

from mmaction.registry import HOOKS
from mmaction.utils.class_names import find_class_names
from mmaction.utils.model_wrapper import bare_model
from mmaction.visualization import ActionVisualizer, enlarge

if TYPE_CHECKING:
    from mmaction.engine.runner.runner import ActionRunner

__all__ = ['VisualizationHook']


@HOOKS.register_module()
class VisualizationHook(Hook):
    """Draw every n-th clip of validation and test by the run's `ActionVisualizer`.

    The clip is the first view, as the model gets it, or 224 high if it is smaller. It goes
    to the visualizer's backends, called `<number>_<file>`, or to `out_dir`.

    Args:
        enable: Whether it does anything.
        interval: n; clips are counted by process.
        show: Show the frames in a window.
        out_dir: Folder; `<number>_<file>_<step>` with the ending of its kind is written there.
        kwargs: Further arguments of `ActionVisualizer.add_datasample`, such as `out_type`.

    Raises:
        ValueError: `interval` is not positive, or, at the start of a run, its visualizer
            cannot draw clips.

    Source: the class of this name in mmaction2 1.x.
    """

    def __init__(
        self,
        enable: bool = False,
        interval: int = 5000,
        show: bool = False,
        out_dir: str | None = None,
        **kwargs: Any,
    ) -> None:
        if interval < 1:
            raise ValueError(f'VisualizationHook: interval={interval} must be at least 1')
        self.enable, self.interval = enable, interval
        self.show, self.out_dir = show, out_dir
        self.draw_args = kwargs

    def before_run(self, runner: ActionRunner) -> None:
        """See that there is something to draw with."""
        if self.enable and not isinstance(runner.visualizer, ActionVisualizer):
            raise ValueError(self._no_visualizer(runner))

    def _after_iter(
        self,
        runner: ActionRunner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
        mode: str = 'train',
    ) -> None:
        """Draw clips of a batch of a validation or a test."""
        if mode == 'train' or not self.enable or not outputs or not data_batch:
            return
        loader: Any = runner.val_dataloader if mode == 'val' else runner.test_dataloader
        step = runner.iter if mode == 'val' else 0
        # Names and scores cannot be read in small clips; a size that is asked for stays.
        sized = {'target_resolution', 'rescale_factor'} & set(self.draw_args)
        visualizer = runner.visualizer
        if not (visualizer.dataset_meta or {}).get('classes'):
            visualizer.dataset_meta = self._meta(runner, loader.dataset)
        size = len(outputs)
        # All batches but the last are of one size, so the first clip has this number.
        first = batch_idx * max(size, getattr(loader, 'batch_size', None) or 1)
        for number in range(
            -(-first // self.interval) * self.interval, first + size, self.interval
        ):
            clip, sample = data_batch['inputs'][number - first], outputs[number - first]
            source = sample.metainfo.get('filename') or sample.metainfo.get('frame_dir')
            # The number tells clips of the same name in several folders apart.
            name = f'{number:05d}_{Path(str(source)).stem}' if source else f'{number:05d}'
            options = dict(self.draw_args)
            if self.out_dir is not None:
                options['out_path'] = osp.join(self.out_dir, f'{name}_{step}')
            frames = clip[0].permute(1, 2, 3, 0).clamp(0, 255).byte().cpu().numpy()
            visualizer.add_datasample(
                name,
                frames if sized else enlarge(frames),
                sample,
                show_frames=self.show,
                step=step,
                **options,
            )

    @staticmethod
    def _meta(runner: Any, dataset: Any) -> dict[str, Any]:
        """What the dataset says of itself, with the names of the classes if they are known."""
        meta = dict(getattr(dataset, 'metainfo', None) or {})
        head = getattr(bare_model(runner.model), 'cls_head', None)
        if not meta.get('classes') and head is not None:
            meta['classes'] = find_class_names(runner.cfg, head.num_classes)
        return meta

    @staticmethod
    def _no_visualizer(runner: ActionRunner) -> str:
        return (
            f'VisualizationHook draws by ActionVisualizer, but the config has '
            f"{type(runner.visualizer).__name__}: set visualizer=dict(type='ActionVisualizer', "
            "vis_backends=[dict(type='LocalVisBackend')])"
        )
