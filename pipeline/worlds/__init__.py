"""Little procedural worlds with exact depth: patterns, things, scenes, and a ray caster."""
