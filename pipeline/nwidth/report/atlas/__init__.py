"""What an atlas looks like: figures of a partition, and the section of the report that shows them.

    clusters.py    who belongs where: map, sizes, silhouette, errors, transitions, confusion
    matrices.py    a table of numbers in colours
    choices.py     why so many clusters: loss, silhouette, gain and break-even over all that was tried
    widths.py      whether a dictionary can pay: brackets of the width, spectra of the parts
    medoids.py     representatives as fields
    section.py     all of these as markup

Every figure is a function of an `nwidth.Atlas` (or of what a model has learnt) alone; `nwidth.plots` hands them to notebooks.
"""
