"""Measures the analysis of prompts on labelled ones: F1 by category, calibration, time. ``python -m loadtests.prompts``
prints the tables of docs/MIND.md. The prompts and their labels are in
``deployments/prompts/labelled.txt``."""
