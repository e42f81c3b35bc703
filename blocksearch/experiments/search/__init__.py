"""Search: many networks, several objectives, and only as much training as the question needs.

study       what defines a search: wishes, space, how accuracies come about
pool        which members may be trained: factor levels and exact costs, as arrays
front       what beats what: Pareto fronts and hypervolume
outlook     what an accuracy after a few epochs says of the last one
surrogate   accuracy as a model over factors and their pairs, with the noise between seeds
evolution   our sampler, on pool, front and surrogate; `optuna_samplers` has Optuna's, behind the same filter
race        who is trained further
policy      which step comes next: a new network, a longer training, or another seed
course      the steps in their order, whatever the order in which they end
driver      steps ▶ workers ▶ ledger, or ▶ a user's function; `mirror` writes them for Optuna
library     the way in from a program
found       what a study has found; `summary` reads ours, `foreign` Optuna's, `effects` asks which factors did it
final       the front on the test images, once
table       a small space trained whole, to replay searches from
"""
