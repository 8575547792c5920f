"""Errors: one line that names the offending value, what was expected, and the mend."""


class MechDecoupleError(Exception):
    """Base of every error this package raises on purpose; the command line turns it into exit code 2."""


class InputError(MechDecoupleError, ValueError):
    """A value, file or option given by the user cannot be used as it stands."""


class TaskError(InputError):
    """A task table is unusable; the message names the row and the column."""


class ModelError(InputError):
    """A model reference cannot be loaded, or lacks what was asked of it (a hook point, a head, a tokenizer)."""


class MismatchError(InputError):
    """Two things that must be aligned are not; the message names the first difference."""


class StoreError(MechDecoupleError, OSError):
    """Activations on disk are damaged, incomplete, or cannot be written."""


class BusyError(StoreError):
    """Another process is writing there."""
