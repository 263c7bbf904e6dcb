"""What the node asks of a model to make a cohort for its training: an entry point of the group `mome_node.cohorts`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import NodeError
from ..volume import Volume

ENTRY_POINTS = "mome_node.cohorts"

Arrays = Mapping[str, npt.NDArray[np.float32]]
"""What a model's network is trained on, of one exam, by sequence."""


class CohortMaker(Protocol):
    """What an entry point returns when called with weights (or None) and the name of a preprocessing (or None)."""

    @property
    def card(self) -> Mapping[str, Any]:
        """As `Model.card`: its evaluated range and quality limits decide what is withheld."""
        ...

    @property
    def identity(self) -> str:
        """Hash of all that shapes the arrays and the status of an exam."""
        ...

    @property
    def columns(self) -> Sequence[str]:
        """Labels that a table may hold."""
        ...

    @property
    def column_prefixes(self) -> Sequence[str]:
        """Columns that begin so are labels, too."""
        ...

    @property
    def of_the_patient(self) -> Sequence[str]:
        """Labels that seldom differ between exams of one patient."""
        ...

    @property
    def counted(self) -> Sequence[str]:
        """Columns of a case whose values a report counts."""
        ...

    def check(self, labels: Mapping[str, str], where: str) -> None:
        """Raises ValueError, beginning with `where`, for a label that means nothing."""
        ...

    def prepare(self, volumes: Mapping[str, Volume]) -> tuple[Arrays, Mapping[str, float]]:
        """The arrays of an exam as `predict` makes them before its network, and the model's own measures.

        May raise an exception with attributes `code` and `remedy`, as `predict` does.
        """
        ...

    def write(
        self,
        folder: Path,
        exams: Iterable[tuple[Mapping[str, str], Arrays | None]],
        *,
        name: str,
        synthetic: bool,
        capacity: int,
        origin: Mapping[str, Any],
    ) -> None:
        """The cohort, from the text of every column of a case and its arrays, where its status has some."""
        ...


def open_maker(model: str, weights: Path | None, preprocessing: str | None) -> CohortMaker:
    """Raises NodeError where the model makes no cohorts, or its weights cannot be used."""
    found = [point for point in entry_points(group=ENTRY_POINTS) if point.name == model]
    if not found:
        raise NodeError(f"The model {model!r} makes no cohorts.", remedy="Name another one in model.name.")
    try:
        maker: CohortMaker = found[0].load()(weights, preprocessing)
    except ValueError as error:
        raise NodeError(str(error), remedy="Name other weights (--weights), or a preprocessing.") from error
    return maker
