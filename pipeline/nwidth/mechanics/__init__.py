"""Reduced mechanics: from snapshots of displacement, stress and plastic strain to a model that solves new load cases online.

body.py           what an online step needs, in arrays of the reduced points; `ReducedBody.solve`
case.py           loads and temperature of a draw: the plug-in of a user
train.py          the way in, `train_mechanics`: one body, or one for each cluster
training.py       one body: cubature, dual fields, strains, loads, calibration
integrands.py     strains and stresses in blocks of points; meshes.py cells without the rest of their mesh
rules.py          cubature on the workers; dual_fields.py masks; calibrating.py true errors without a read
adaptive.py        one load case that calls for full-order steps; adaptive_*.py are its parts
surrogate.py      bodies and classifier, as Monte Carlo asks them
files.py          arrays and JSON inside of a model
"""
