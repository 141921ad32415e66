"""What every step of the build raises when a checkpoint or a machine does not fit."""


class Refused(Exception):
    """The message says what does not fit and what to do; nothing has been changed."""
