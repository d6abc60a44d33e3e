"""The eight unlabelled sets of Depth Anything, as they are distributed."""

from pipeline.presets import Preset

UNLABELLED: tuple[Preset, ...] = ()
