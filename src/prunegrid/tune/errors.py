"""The one error of training."""


class TuneError(ValueError):
    """Training data, settings or a finished tuning that cannot be used; says what to do."""
