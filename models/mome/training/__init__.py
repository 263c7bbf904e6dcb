"""From a cohort to weights: objectives, schedules, runs that survive a kill, comparators."""
