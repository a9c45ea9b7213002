# One learned query that attends to all tokens of a clip.
probe = dict(
    kind='attentive',
    lrs=[1e-4, 3e-4, 1e-3],
    weight_decays=[0.01, 0.1],
    epochs=20,
    batch_size=64,
)
