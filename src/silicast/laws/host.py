"""Time of the host that the device waits for."""

from silicast.laws.timing import Value


def host_time(sequences: Value, step: Value, per_sequence: Value) -> Value:
    """Scheduling, sampling, detokenisation and launch of one step: t = t_step + t_sequence x sequences, in s.

    Linear in the running sequences because every engine touches each of them once per step.
    """
    return step + per_sequence * sequences
