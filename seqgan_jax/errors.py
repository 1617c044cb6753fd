"""Errors in the user's words, each with the exit code that the command line returns for it.

The message of every error says what is wrong, where, why, and what to do about it.
"""


class SeqGANError(Exception):
    """Base class: anything that the user can put right."""

    exit_code = 1


class UsageError(SeqGANError, ValueError):
    """An option or argument that is unknown, impossible or contradicts another."""

    exit_code = 2


class NotFittedError(UsageError, RuntimeError):
    """A model was asked for something before it was fitted."""


class DataError(SeqGANError, ValueError):
    """Input that cannot be read as sequences of finite numbers."""

    exit_code = 3


class DeviceError(SeqGANError, RuntimeError):
    """The device that was asked for is not usable."""

    exit_code = 4


class DiskError(SeqGANError, OSError):
    """A file could not be written."""

    exit_code = 5


class CheckpointError(SeqGANError, RuntimeError):
    """A run directory or checkpoint is missing, damaged or of another kind."""

    exit_code = 6


class DivergedError(SeqGANError, ArithmeticError):
    """Training produced a value that is not finite."""

    exit_code = 7


class BusyError(SeqGANError, RuntimeError):
    """Another process is using the run directory."""

    exit_code = 8
