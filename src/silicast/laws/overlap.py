"""Two microbatches: the exchange of one runs beside the compute of the other."""

import numpy as np

from silicast.laws.timing import Value


def two_microbatches(compute: Value, exchange: Value, tax: Value) -> Value:
    """Duration of a layer stack run as two halves whose computes and exchanges alternate.

    t = max(2 C + tax min(2 C, 2 X), 2 X), seconds; C and X are the compute and the exchange of *one half at its own
    size*. Compute runs longer by `tax` while an exchange runs, because it takes cores and bandwidth. Not free: C and
    X of a half are more than half of the whole. Reference: DeepSeek-V3 (arXiv:2412.19437, section 3.4), SGLang
    two-batch overlap, CloudMatrix384 microbatch pipelining (arXiv:2506.12708).
    """
    return 2 * np.maximum(compute + tax * np.minimum(compute, exchange), exchange)
