"""What a model predicted while it trained: the pictures that its run has left."""

from pathlib import Path

from jobs.report_images import photograph
from jobs.report_page import Figure, Section
from jobs.report_samples import spread
from jobs.run_files import RunFiles
from pipeline.images import ImageDecodeError, decode_rgb

SHOWN = 6
SIDE = 1100  # pixels; rows of three tiles, several of them


def previews_section(files: RunFiles) -> Section | None:
    """Some of the previews, the last among them; None where there are none."""
    keys = sorted(key for key in files.store.list(files.key("previews")) if key.endswith(".png"))
    chosen = [*spread(keys[:-1], SHOWN - 1), *keys[-1:]]
    figures = tuple(figure for key in chosen if (figure := _figure(files, key)) is not None)
    if not figures:
        return None
    text = (
        f"{len(figures):,} of {len(keys):,} previews. Each row is an image, its truth or label, "
        "and what was predicted; bright is near, and grey is unknown."
    )
    return Section("previews", "Previews", text=text, figures=figures)


def _figure(files: RunFiles, key: str) -> Figure | None:
    step = Path(key).stem.lstrip("0") or "0"
    try:
        picture_HWC = decode_rgb(files.store.get(key))
    except (FileNotFoundError, ImageDecodeError):  # written anew meanwhile, or broken
        return None
    title = f"After step {int(step):,}" if step.isdecimal() else step
    return Figure((photograph(picture_HWC, alt=f"Predictions: {title}", side=SIDE),), title)
