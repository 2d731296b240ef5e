"""The error tree, grouped by what a handler would do.

    NwidthError                    every refusal of ours: one sentence that says what to do
    ├── InputError (ValueError)    the data or a file is not what it should be: mend the input
    │   ├── FieldError             a field holds NaN or infinite values, or has the wrong shape
    │   ├── MeshError              a mesh is malformed, or differs from the one in the store
    │   └── FormatError            a file is truncated, or of a format that no reader claims
    ├── ConfigError (ValueError)   a setting is unknown, contradictory or out of range: mend the study
    ├── StoreError (RuntimeError)  a store cannot be read or written as asked
    │   ├── LayoutError            the store has a foreign layout, or one from a newer schema
    │   └── DuplicateRunError      this run is in the store already
    ├── PlanError (MemoryError)    what was asked does not fit the configured resources: change the plan
    └── RunError (RuntimeError)    work was begun and could not be finished
        ├── CertificateError       a result failed its own check, and is not written
        └── BusyError              another run of the same study is at work: try later

Each also inherits the built-in exception that a caller would expect.
"""


class NwidthError(Exception):
    """Base of every refusal: its text is one sentence that says what was found and what to do."""


class InputError(NwidthError, ValueError):
    """The data are not what they should be."""


class FieldError(InputError):
    """A field holds NaN or infinite values, or does not have the expected shape."""


class MeshError(InputError):
    """A mesh is malformed, or differs from the mesh of the store."""


class FormatError(InputError):
    """A file is truncated, malformed, or of a format that no reader claims."""


class ConfigError(NwidthError, ValueError):
    """A setting is unknown, contradictory or out of range."""


class StoreError(NwidthError, RuntimeError):
    """A store cannot be read or written as asked."""


class LayoutError(StoreError):
    """A store has a foreign layout, or was written by a newer schema."""


class DuplicateRunError(StoreError):
    """The run is in the store already."""


class PlanError(NwidthError, MemoryError):
    """What was asked does not fit the configured resources."""


class RunError(NwidthError, RuntimeError):
    """Work was begun and could not be finished."""


class CertificateError(RunError):
    """A result failed its own check and is not written."""


class BusyError(RunError):
    """Another run of the same study is at work; nothing is wrong, and a later try will do."""
