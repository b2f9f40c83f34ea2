"""The scripts, by theme."""

from scripted_model.scripts import Library

from . import answers, attacks, demo, faults, tools

PLOTS = Library.of(answers, attacks, demo, faults, tools)
