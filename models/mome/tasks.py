"""What networks of the paper answer: malignancy, and for proven cancers triple-negative subtype and response.

Which class is which is that of the published data loader: class 1 is the positive one in all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

TaskName: TypeAlias = Literal["malignancy", "tnbc", "pcr"]


@dataclass(frozen=True, slots=True)
class Task:
    """One question that a network with two classes answers about the whole exam."""

    name: TaskName
    code: tuple[str, str, str]  # value, scheme, meaning; 99BMRAI is the private scheme of the report templates
    positive_label: str  # class 1: what a high score stands for
    negative_label: str  # class 0
    in_the_paper: str  # what Luo et al. 2025 call it
    asked_of: str  # whose exams it was trained on; of any other exam the answer means nothing

    def target(self) -> dict[str, Any]:
        """The entry under `targets` of a model card."""
        return {
            "name": self.name,
            "code": list(self.code),
            "scope": "patient",
            "positive_label": self.positive_label,
        }


MALIGNANCY = Task(
    name="malignancy",
    code=("111047", "DCM", "Probability of cancer"),
    positive_label="malignant",
    negative_label="benign",
    in_the_paper="malignancy classification",
    asked_of="any breast MRI exam",
)
TNBC = Task(
    name="tnbc",
    code=("706970001", "SCT", "Triple negative malignant neoplasm of breast"),
    positive_label="triple-negative",
    negative_label="another molecular subtype",
    in_the_paper="triple-negative breast cancer (TNBC) subtyping",
    asked_of="patients with proven breast cancer",
)
PCR = Task(
    name="pcr",
    code=("PCR", "99BMRAI", "Pathologic complete response to neoadjuvant therapy"),
    positive_label="pathologic complete response",
    negative_label="no pathologic complete response",
    in_the_paper="neoadjuvant chemotherapy (NACT) response prediction, Miller-Payne grade 5 against the others",
    asked_of="patients with proven breast cancer, before neoadjuvant chemotherapy",
)
TASKS: Mapping[TaskName, Task] = {task.name: task for task in (MALIGNANCY, TNBC, PCR)}
"""Malignancy first: the other networks are trained further from its network (paper, Methods)."""
