"""The one error of this package: it names the value, the place and, where there is one, the remedy."""


class TaskError(ValueError):
    """A benchmark file, an image, a record or a setting cannot be used as it is."""
