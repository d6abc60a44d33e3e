"""What can go wrong with a command; each class says what the operator should do."""


class JobError(Exception):
    """Something that should have been done was not: read which, repair it, run again."""


class ConfigError(Exception):
    """Wrong usage or configuration, every problem listed: correct them and run again."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
