"""The labelled sets of Depth Anything V1 and V2, as they are distributed."""

from pipeline.presets import Preset

LABELLED: tuple[Preset, ...] = ()
