# Fine-tuning on HMDB51 and UCF101: 16 epochs, 16 clips per GPU and update.
_base_ = 'finetune_30e.py'

optim_wrapper = dict(optimizer=dict(weight_decay=0.1))
auto_scale_lr = dict(base_batch_size=128)
train_cfg = dict(max_epochs=16)
