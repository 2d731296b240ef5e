"""Learning to predict: from the coordinates of training simulations to a classifier and regressions that a model keeps.

Training takes scikit-learn, the extra ``learn``; what is learnt are arrays (`nwidth.models`), which predict without it.
"""
