"""The top-level keys by which a config of mmaction2 0.x is known."""

__all__ = ['SUCCESSORS']

SUCCESSORS = {
    'total_epochs': 'train_cfg=dict(by_epoch=True, max_epochs=...)',
    'lr_config': 'param_scheduler',
    'optimizer_config': 'optim_wrapper',
    'evaluation': 'train_cfg.val_interval and val_evaluator',
    'checkpoint_config': 'default_hooks.checkpoint',
    'log_config': 'default_hooks.logger and visualizer',
    'dist_params': 'env_cfg.dist_cfg',
    'resume_from': '--resume CHECKPOINT',
    'workflow': 'train_cfg',
}
"""Keys that no config of 1.x has, and what took their place there."""
