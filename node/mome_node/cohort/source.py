"""Where studies come from: a folder, or a PACS that is asked for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from ..errors import NodeError
from .table import AtHand, Row

Say = Callable[[str], None]


class RetrievalIncomplete(NodeError):
    """A PACS did not hand out all objects of one study; others may come."""


class Source(Protocol):
    kind: str  # "folder" | "pacs"

    def at_hand(self, rows: Sequence[Row]) -> list[AtHand]:
        """The studies there are; a PACS is asked only for those of the rows."""
        ...

    def images(self, study: AtHand, scratch: Path) -> AbstractContextManager[list[Path]]:
        """The files of a study; those that had to be fetched into `scratch` are gone when the block ends.

        Raises RetrievalIncomplete where this study cannot be had, any other NodeError where no study can.
        """
        ...
