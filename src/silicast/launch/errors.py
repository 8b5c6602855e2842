"""What a stack cannot be told."""

from silicast.errors import InputError


class LaunchError(InputError):
    """A deployment that a stack, or a format of launch files, has no words for."""
