"""Every error that a person may see, on one page: what happened, and what to do next."""

from __future__ import annotations


class NodeError(Exception):
    """Something a person must know. `str()` gives what happened and the remedy; neither carries patient data."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"


class SettingsError(NodeError):
    """The configuration cannot be used: unknown key, impossible value, missing file."""


class StateFolderError(NodeError):
    """The state folder is in use by another node, unwritable, or of a newer version."""


class LedgerError(NodeError):
    """The ledger has no such study or job, or the wish does not fit its state."""


class UnreadableDicom(NodeError):
    """A file or data set is not DICOM, cut short, or lacks the UIDs that make it an object."""


class DeliveryError(NodeError):
    """A destination did not take an object. `final` when trying again cannot help."""

    def __init__(self, message: str, *, remedy: str, final: bool = False) -> None:
        super().__init__(message, remedy=remedy)
        self.final = final


class ComputeError(NodeError):
    """The compute child ended, ran out of time or of memory, or the model refused its weights."""


class StudyRefused(NodeError):
    """This study cannot be analysed, for a coded reason that goes into its findings; not a fault of the node.

    `code` is one of the problem codes of the grouping contract, or of the model (`findings.PROBLEM_CODES`).
    """

    def __init__(self, code: str, message: str, *, remedy: str, series: tuple[str, ...] = ()) -> None:
        super().__init__(message, remedy=remedy)
        self.code = code
        self.series = series
