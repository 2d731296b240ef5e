"""Dask graph builders of nwidth: they know no store, no configuration and no people."""
