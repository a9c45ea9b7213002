"""Imported first by processes that tests start."""

from mmaction.utils.cli import leave_out_adafactor

leave_out_adafactor()
