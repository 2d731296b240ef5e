"""Pure array functions: NumPy, CuPy or any other array-API namespace, taken from the data itself.

Modules here import neither dask nor zarr nor xarray, never change their inputs, and accumulate in float64.
"""
