"""What CLAIM 2024 and TRIPOD+AI ask of a publication: what this software can answer, and what its authors must.

CLAIM: Tejani et al. 2024, Radiology: Artificial Intelligence 6(4):e240300. TRIPOD+AI: Collins et al. 2024, BMJ
385:e078378. Numbers are theirs, the words in short are ours: authors fill in the journals' own forms with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

AUTHOR = "author must"
Questions: TypeAlias = tuple[tuple[str, str, str, str], ...]
"""Number, subject, the fact that answers it (a key of `facts.facts`), what remains to the authors."""


@dataclass(frozen=True, slots=True)
class Line:
    """One item of a checklist with its answer."""

    number: str
    subject: str
    answer: str  # what the software knows; empty where nothing
    remains: str  # what the authors must add; empty where nothing


CLAIM: Questions = (
    ("1", "Title: an AI study, and of which kind", "model", "write the title"),
    ("2", "Abstract: design, methods, results, conclusions", "", "write it"),
    ("3", "Background; intended use and role of the model", "intended_use", "say what it is to be used for"),
    ("4", "Aims and hypotheses", "", "state them"),
    ("5", "Prospective or retrospective", "", "say which"),
    ("6", "Goal of the study", "goal", "say whether it was to create, to test or to compare"),
    ("7", "Sources of the data", "sources", "name the institutions and the dates"),
    ("8", "Who was included and who was not", "exclusions", "give the criteria by which studies were searched"),
    ("9", "Preprocessing", "preprocessing", ""),
    ("10", "Selection of parts of the data", "selection", "say what was cut before this software saw it"),
    ("11", "De-identification", "pseudonyms", "say how, and who keeps the key"),
    ("12", "Missing data", "missing", ""),
    ("13", "Acquisition", "acquisition", "give the protocols"),
    (
        "14",
        "Reference standard: what it is",
        "reference",
        "say how it was obtained, and after how long benign is benign",
    ),
    ("15", "Reference standard: why this one", "", "give the reason"),
    ("16", "Reference standard: who gave it", "", "give their number and experience"),
    ("17", "Annotation of the test set", "", "describe it"),
    ("18", "Agreement among and within annotators", "", "measure it or say that it was not"),
    ("19", "How data came to their partitions", "partition", "say who decided and when"),
    ("20", "At which level partitions are apart", "separation", ""),
    ("21", "Size of the test set and its reason", "size", "justify it (`mome power`)"),
    ("22", "The model in detail", "architecture", ""),
    ("23", "Software, versions", "software", ""),
    ("24", "Initialisation of the parameters", "training", "say where it departs from this"),
    ("25", "Training", "training", "give the schedule where it is not in the card"),
    ("26", "Choice of the final model", "chosen", "say on what it was chosen"),
    ("27", "Ensembles", "ensemble", ""),
    ("28", "Measures of performance", "measures", "say which is the primary one"),
    ("29", "Significance and uncertainty", "statistics", ""),
    ("30", "Robustness", "robustness", "discuss it"),
    ("31", "Explanations", "explanation", ""),
    ("32", "Evaluation on internal data", "", "say whether this cohort is internal"),
    ("33", "Evaluation on external data", "", "say whether this cohort is external"),
    ("34", "Registration of the trial", "", "give the number or say that there is none"),
    ("35", "Numbers included and excluded; flow diagram", "flow", ""),
    ("36", "Who they were, in each partition", "characteristics", "add those of the training data"),
    ("37", "Performance with its uncertainty, all partitions", "performance", "add training and tuning"),
    ("38", "Diagnostic performance and its precision", "diagnostic", ""),
    ("39", "What went wrong where it did", "failures", "look at the cases and discuss them"),
    ("40", "Limitations", "limits", "add those of the study"),
    ("41", "Meaning for practice", "", "discuss it"),
    ("42", "Protocol or further technical details", "seal", "cite the protocol"),
    ("43", "Availability of software, model, data", "availability", "say of the data"),
    ("44", "Funding and other support", "", "state it"),
)

TRIPOD: Questions = (
    ("1", "Title: model, population, outcome, development or evaluation", "model", "write the title"),
    ("2", "Abstract (TRIPOD+AI for Abstracts)", "", "write it"),
    ("3a", "Context, reasons, models there are", "", "write it"),
    ("3b", "Whom it is for, where in the pathway, who uses it", "intended_use", "say it"),
    ("3c", "Known inequalities between groups", "", "discuss them"),
    ("4", "Objectives: development, evaluation or both", "goal", "state them"),
    ("5a", "Sources of the data, and whom they represent", "sources", "say whom they represent"),
    ("5b", "Dates", "", "give them"),
    ("6a", "Setting, number and place of the centres", "sources", "name them"),
    ("6b", "Eligibility", "exclusions", "give the criteria"),
    ("6c", "Treatments", "", "describe them, where patients were treated before MRI"),
    ("7", "Preparation and quality of the data, also between groups", "preprocessing", ""),
    ("8a", "Outcome, its time, how it was assessed", "reference", "say how"),
    ("8b", "Who assessed the outcome", "", "give qualifications"),
    ("8c", "Blinding of that assessment", "", "say whether they knew the images or the score"),
    ("9a", "Choice of the predictors", "predictors", ""),
    ("9b", "Predictors: definition, time, blinding", "predictors", "say who knew the outcome"),
    ("9c", "Who assessed predictors that need judgement", "readers", "give qualifications"),
    ("10", "Size of the study", "size", "justify it (`mome power`)"),
    ("11", "Missing data", "missing", ""),
    ("12a", "Use of the data: partitions", "partition", "say who decided and when"),
    ("12b", "Handling of the predictors", "preprocessing", ""),
    ("12c", "Kind of model, how it was built and chosen", "training", "give what the card does not say"),
    ("12d", "Differences between clusters (sites)", "sites", "discuss them"),
    ("12e", "Measures and plots of performance; comparison of models", "measures", "say which is the primary one"),
    ("12f", "Updating of the model", "updating", "say of any other"),
    ("12g", "How predictions were calculated", "calculated", ""),
    ("13", "Class imbalance", "imbalance", ""),
    ("14", "Fairness: how it was approached", "robustness", "say which groups matter here and why"),
    ("15", "Output of the model, thresholds and their reason", "output", ""),
    ("16", "Development and evaluation data: differences", "difference", "say of setting and outcome"),
    ("17", "Ethics", "", "give the approval and the consent"),
    ("18a", "Funding", "", "state it"),
    ("18b", "Conflicts of interest", "", "state them"),
    ("18c", "Protocol", "seal", "cite it or say that there is none"),
    ("18d", "Registration", "", "give it or say that there is none"),
    ("18e", "Data sharing", "", "state it"),
    ("18f", "Code sharing", "availability", ""),
    ("19", "Patients and public: involvement", "", "describe it or say that there was none"),
    ("20a", "Flow of participants", "flow", ""),
    ("20b", "Characteristics", "characteristics", ""),
    ("20c", "Characteristics beside those of the development data", "difference", "add the development data"),
    ("21", "Participants and outcomes in each analysis", "numbers", ""),
    ("22", "The model in full, so that others can use it", "availability", ""),
    ("23a", "Performance with intervals, also in groups", "performance", ""),
    ("23b", "Differences between clusters (sites)", "sites", "discuss them"),
    ("24", "Results of updating", "updating", ""),
    ("25", "Interpretation, also as to fairness", "", "write it"),
    ("26", "Limitations", "limits", "add those of the study"),
    ("27a", "What is done with input that is poor or missing", "missing", ""),
    ("27b", "What users must do and know", "intended_use", "describe it"),
    ("27c", "What should come next", "", "discuss it"),
)


def filled(questions: Questions, facts: Mapping[str, str]) -> list[Line]:
    """Every item with its answer; what nobody answered is the authors' whole task."""
    lines = []
    for number, subject, fact, remains in questions:
        answer = facts.get(fact, "") if fact else ""
        left = remains or ("answer it" if not answer else "")
        lines.append(Line(number, subject, answer, f"{AUTHOR} {left}" if left else ""))
    return lines
