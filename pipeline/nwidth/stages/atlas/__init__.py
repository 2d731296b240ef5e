"""The atlas stage: a partition of the snapshots and a dictionary of local bases, from the factor of the one pass.

items         what is partitioned, and who may be held out together
coordinates   snapshots in one frame            spaces    dissimilarities between items
parts         representatives and members       splits    who the gain is measured on
trials        the map over K and N              choice    how many clusters, and whether any
cuts, curves  local bases and widths            chart     all of these, in order
assembling    a large matrix by all workers     finished  of a basis, by its coefficients
lifting       the second read                   reduction the stage
"""

from nwidth.stages.atlas.chart import Wanted
from nwidth.stages.atlas.items import SnapshotTable, table_of
from nwidth.stages.atlas.reduction import AtlasReduction, local_request, refuse_route

__all__ = ["AtlasReduction", "SnapshotTable", "Wanted", "local_request", "refuse_route", "table_of"]
