"""Two microbatches: the exchange of one runs beside the compute of the other."""

import numpy as np

from silicast.laws.timing import Value


def two_microbatches(compute: Value, exchange: Value, tax: Value, floors: Value = 0.0) -> Value:
    """Duration of a layer stack run as two halves whose computes and exchanges alternate.

    t = max(2 (C - F) + 2 tax min(C - F, X), 2 X, C + X), seconds; C and X are the compute and the exchange of *one
    half at its own size*. Compute runs longer by `tax` while an exchange runs, because it takes cores and bandwidth.
    F are the `floors` of the kernels that the other half hides because it computes on a stream of its own (0 where
    both share one): one half alone still needs C + X. Not free: C and X of a half are more than half of the whole.
    Reference: DeepSeek-V3 (arXiv:2412.19437, section 3.4), SGLang two-batch overlap, CloudMatrix384 microbatch
    pipelining on two streams (arXiv:2506.12708).
    """
    busy = compute - floors
    together = 2 * np.maximum(busy + tax * np.minimum(busy, exchange), exchange)
    return np.asarray(np.maximum(together, compute + exchange))
