"""Ingest adapters: one per source of operator tables, all into the one tidy schema of `operators`."""
