"""The keys of the dicts without a `type`, which the runner and builders read."""

from __future__ import annotations

__all__ = [
    'HOOK_NAMES',
    'LISTS_OF_TYPED',
    'LOGGERS',
    'MORE_KEYS',
    'PARAMWISE',
    'RUNNER_KEYS',
    'TOGETHER',
    'UNTYPED',
    'USUAL_VARIABLES',
]

RUNNER_KEYS = frozenset(
    {
        'model',
        'work_dir',
        'train_dataloader',
        'val_dataloader',
        'test_dataloader',
        'train_cfg',
        'val_cfg',
        'test_cfg',
        'auto_scale_lr',
        'optim_wrapper',
        'param_scheduler',
        'val_evaluator',
        'test_evaluator',
        'default_hooks',
        'custom_hooks',
        'data_preprocessor',
        'load_from',
        'resume',
        'launcher',
        'env_cfg',
        'log_processor',
        'log_level',
        'visualizer',
        'default_scope',
        'randomness',
        'experiment_name',
        'compile',
        'sync_bn',
        'find_unused_parameters',
        'model_wrapper_cfg',
        'activation_checkpointing',
        'efficient_conv_bn_eval',
        'runner_type',
        'custom_imports',
        'tta_model',
        'tta_pipeline',
    }
)
"""Top-level names that the runner reads."""

USUAL_VARIABLES = {
    'vis_backends',
    'train_pipeline',
    'val_pipeline',
    'test_pipeline',
    'data_root',
    'dataset_type',
    'optimizer',
}
"""Names that configs give to what they use more than once."""

TOGETHER = (
    ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    ('val_dataloader', 'val_cfg', 'val_evaluator'),
    ('test_dataloader', 'test_cfg', 'test_evaluator'),
)
"""Keys of which the runner takes all or none."""

_DATALOADER = {'dataset', 'num_batch_per_epoch', 'disable_subprocess_warning'}
MORE_KEYS = {
    'train_dataloader': _DATALOADER,
    'val_dataloader': _DATALOADER,
    'test_dataloader': _DATALOADER,
    'train_cfg': {'by_epoch'},
    'optim_wrapper': {'optimizer', 'constructor', 'paramwise_cfg'},
}
PARAMWISE = {
    'custom_keys',
    'bias_lr_mult',
    'bias_decay_mult',
    'norm_decay_mult',
    'flat_decay_mult',
    'dwconv_decay_mult',
    'dcn_offset_lr_mult',
    'bypass_duplicate',
}
UNTYPED = {
    'auto_scale_lr': {'enable', 'base_batch_size'},
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},
    'env_cfg': {'cudnn_benchmark', 'tf32', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'optim_wrapper.clip_grad': {
        'type',
        'max_norm',
        'norm_type',
        'error_if_nonfinite',
        'clip_value',
        'foreach',
    },
    'env_cfg.mp_cfg': {'mp_start_method', 'opencv_num_threads'},
    'env_cfg.dist_cfg': {'backend', 'timeout', 'init_backend', 'port'},
    'compile': {'backend', 'mode', 'dynamic', 'fullgraph', 'options'},
    'custom_imports': {'imports', 'allow_failed_imports'},
    'model.backbone.lora': {'r', 'targets', 'alpha', 'dropout', 'base'},
}
LISTS_OF_TYPED = {
    'pipeline',
    'transforms',
    'custom_hooks',
    'vis_backends',
    'param_scheduler',
    'val_evaluator',
    'test_evaluator',
}
HOOK_NAMES = {
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
    'sync_buffers',
    'visualization',
}

LOGGERS = {
    'tensorboard': 'TensorboardVisBackend',
    'wandb': 'WandbVisBackend',
    'mlflow': 'MLflowVisBackend',
    'trackio': 'TrackioVisBackend',
}
"""Options of the command line, which are called like the package, and their backends."""
