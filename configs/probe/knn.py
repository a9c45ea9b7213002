# Nearest neighbors of pooled features; nothing is trained.
probe = dict(kind='knn', ks=[5, 10, 20, 50], temperatures=[0.07])
