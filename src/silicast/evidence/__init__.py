"""Measurements that somebody published, and what Silicast forecasts for them.

`columns` is the schema, `record` loads folders, `deployment` turns a row into the pools it ran on, `serve`, `phases`
and `kernels` forecast arrays of rows, `forecast` brings them together, `validate` scores them.
"""
