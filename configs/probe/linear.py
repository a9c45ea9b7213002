# A linear layer on pooled features: tools/probe.py CONFIG CHECKPOINT --probe THIS_FILE
probe = dict(
    kind='linear',
    lrs=[1e-4, 1e-3, 1e-2],
    weight_decays=[0.0, 0.01, 0.1],
    epochs=20,
    batch_size=512,
)
