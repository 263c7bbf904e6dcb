"""From weights and a cohort to evidence: figures with intervals, operating points, reports."""
