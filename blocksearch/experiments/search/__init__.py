"""Search: many networks, several objectives, and only as much training as the question needs.

pool        which members may be trained: factor levels and exact costs, as arrays
front       what beats what: Pareto fronts and hypervolume
surrogate   accuracy as a model over factors and their pairs, with the noise between seeds
evolution   our sampler, on pool, front and surrogate; `optuna_samplers` has Optuna's, behind the same filter
study       what defines a search, and the steps it has taken
policy      which step comes next: a new network, a longer training, or another seed
driver      steps ▶ workers ▶ ledger, in an order that no interruption changes
"""
