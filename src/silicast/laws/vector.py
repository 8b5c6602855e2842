"""Element-wise and row-wise operators."""

from silicast.laws.timing import Timing, Value, overlapped


def vector_time(operations: Value, moved: Value, rate: Value, bandwidth: Value, launch: Value) -> Timing:
    """Norms, activations, rotations, casts: operations on the vector units against bytes moved.

    t = launch + ((ops / (e V))^3 + (bytes / (e_m W))^3)^(1/3); FLOP/s, B/s, s. Reference: roofline (2009).
    """
    vector, memory = operations / rate, moved / bandwidth
    busy = (moved > 0) * 1.0
    return Timing(busy * (launch + overlapped(vector, memory)), 0.0, vector, memory, 0.0, busy * launch)
