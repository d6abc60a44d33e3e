"""What can go wrong with a model; each class says what the operator should do."""

# Why something is no encoder.
NOT_FROM_A_DEPTH_MODEL = (
    "is a depth model: teachers and students start from DINOv2, a student never from its teacher "
    "(arXiv:2401.10891, §3.2); name the encoder, such as facebook/dinov2-small"
)


class ModelError(Exception):
    """Base of every error the model room raises on purpose."""


class CheckpointError(ModelError):
    """Weights cannot be read as that model: check the reference, its variant and its files."""


class ExportError(ModelError):
    """An exported model is not the model: nothing was kept; try another --format."""


class NonFiniteLossError(ModelError):
    """A training loss is not a number: begin anew with a lower learning rate or a warm-up."""


class ScaleDriftError(ModelError):
    """Predictions drifted where the loss cannot see it: begin anew as it says."""


class NothingLearntError(ModelError):
    """No step had anything to learn from: look at the ground truth and its range."""
