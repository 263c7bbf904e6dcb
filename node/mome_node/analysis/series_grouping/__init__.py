"""Which series is the DCE, which the DWI, which the T2: a Study in, its entry of the grouping report out.

Headers only, never pixels. The steps, one module each:

    images      a study as series of single slices
    gate        is it a diagnostic breast MRI of one patient?
    kinds       what each series is by itself: native or derived; T1, T2, diffusion, scout
    stacks      a series to stacks: one grid, one time; the key between them is tested
    families    stacks of one grid and protocol, in order of time
    members     which of them are phases: no copies, no maps, no late series
    dynamics    the dynamic, and which phase is pre-contrast
    diffusion   b-values, trace or directions
    selection   which DWI, ADC, T2 and T1 go with the dynamic
    roles       the role of every series, with its reason
    problems    what a person should know
    grouping    the steps in order
    reporting   the whole report, and the table for people

Words of descriptions (`words`) break ties; they never outvote an attribute. A site adds its own (`rules`).
"""

from .grouping import group
from .reporting import describe, report
from .rules import Pin, SeriesRules, load_rules

__all__ = ["Pin", "SeriesRules", "describe", "group", "load_rules", "report"]
