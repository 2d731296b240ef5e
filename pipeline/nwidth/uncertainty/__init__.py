"""Monte Carlo over uncertain inputs: seeded draws, a reduced model asked about each, exact statistics of the answers.

distributions ──draws──> inputs of draw i ──ask──> label, coefficients, indicator     kept batch by batch
                                                          └──> one pass over the modes ──> mean, variance, quantiles
distributions.py   what is uncertain, and how: quantile functions
draws.py           inputs of draw i, the same whatever the batch, the order and the number of workers
asking.py          who answers: the protocol of a reduced model, and an answer
batches.py         all draws on the workers, batch by batch, resumable
fields.py          statistics of the fields, one pass over the modes
quantities.py      scalar quantities of interest, their histograms and standard errors
verification.py    a random subset of the draws, answered by the full-order model, too
"""
