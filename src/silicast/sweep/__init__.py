"""Sweeps: models x chips x workloads x deployments in chunks, on this machine or on many, kept as Parquet parts.

`space` reads what is swept, `chunks` cuts it and names each piece by its content, `work` evaluates one, `processes` and
`cluster` say where, `parts` keeps the results, `run` puts them together, `results` answers SQL.
"""
