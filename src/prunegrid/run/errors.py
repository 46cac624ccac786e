"""What a stage raises when a cell cannot be built; files of results have ResultError."""


class BuildError(ValueError):
    """A cell that cannot be built."""
