"""Hypothesis strategies for the laws: hardware and shapes over the range that exists, with room on both sides."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from silicast.laws.attention import AttentionEngine
from silicast.laws.collective import Fabric
from silicast.laws.gemm import MatrixUnit, Traffic


def rates(low: float, high: float) -> st.SearchStrategy[float]:
    """A positive number, evenly in the logarithm."""
    return st.floats(np.log(low), np.log(high)).map(np.exp).map(float)


sizes = st.integers(1, 1 << 17).map(float)
rows = st.integers(0, 1 << 16).map(float)
bytes_per_value = st.sampled_from((0.5, 0.5625, 1.0, 2.0, 4.0))
shares = st.floats(0.05, 1.0)

matrix_units = st.builds(
    MatrixUnit,
    peak=rates(1e13, 1e17),
    efficiency=shares,
    cores=st.integers(4, 512).map(float),
    tile_m=st.sampled_from((64.0, 128.0, 256.0)),
    tile_n=st.sampled_from((64.0, 128.0, 256.0)),
)
traffics = st.builds(
    Traffic,
    weight=bytes_per_value,
    activation=bytes_per_value,
    output=bytes_per_value,
    bandwidth=rates(1e11, 3e13),
    efficiency=shares,
)
engines = st.builds(
    AttentionEngine,
    matrix=rates(1e13, 1e16),
    scores=rates(1e10, 1e14),
    cores=st.integers(4, 512).map(float),
    bandwidth=rates(1e11, 3e13),
)
fabrics = st.builds(
    Fabric,
    inner_size=st.integers(2, 1024).map(float),
    inner_bandwidth=rates(1e10, 2e12),
    inner_latency=rates(1e-7, 1e-4),
    outer_bandwidth=rates(1e9, 2e11),
    outer_latency=rates(1e-6, 1e-3),
    launch=rates(1e-8, 1e-4),
    mesh=st.sampled_from((0.0, 1.0)),
    axes=st.sampled_from((0.0, 2.0, 3.0)),
    reduces=st.sampled_from((0.0, 1.0)),
)
launches = rates(1e-8, 1e-4)


def faster(noun: Any, field: str, factor: float) -> Any:
    """The same hardware with one rate `factor` times larger."""
    return replace(noun, **{field: getattr(noun, field) * factor})
