"""Two microbatches: the exchange of one runs beside the compute of the other."""

import numpy as np

from silicast.laws.timing import Value


def two_microbatches(compute: Value, exchange: Value, tax: Value) -> Value:
    """Duration of a layer stack run as two halves whose computes and exchanges alternate.

    t = max(2 C (1 + tax), 2 X), seconds; C and X are the compute and the exchange of *one half at its own
    size*. Compute runs longer by `tax` because the exchange takes cores and bandwidth from it. Not free: C and X of
    a half are more than half of the whole. Reference: DeepSeek-V3 (arXiv:2412.19437, section 3.4), SGLang
    two-batch overlap, CloudMatrix384 microbatch pipelining (arXiv:2506.12708).
    """
    return np.maximum(2 * compute * (1 + tax), 2 * exchange)
