"""The zero-shot benchmarks of the papers, as they are distributed."""

from pipeline.presets import Preset

BENCHMARKS: tuple[Preset, ...] = ()
