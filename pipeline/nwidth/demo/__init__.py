"""The case of ``make demo``: a heated plate, solved with finite elements over a small design of experiments.

- `plate`: the mesh, a plate with holes, in pure NumPy
- `heat`: transient heat conduction with scikit-fem
- `design`: the parameters of the runs, a Latin hypercube, as ``design.csv``
- `case`: all runs, written as a solver would: one folder per run with a PVD series of VTU files
- `study`: the study file that reduces them
"""

from nwidth.demo.case import DemoCase, generate
from nwidth.demo.study import write_study

__all__ = ["DemoCase", "generate", "write_study"]
