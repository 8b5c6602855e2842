"""Traces of requests that somebody recorded: public formats and our own, read in blocks, plain or gzip."""

from silicast.traces.read import Reading, Trace, read_trace

__all__ = ["Reading", "Trace", "read_trace"]
