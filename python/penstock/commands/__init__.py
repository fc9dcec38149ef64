"""The subcommands of `penstock`, one module each, and the exit statuses and failure they share."""

from typing import Final

__all__ = ["STATUS_BAD_STREAM", "STATUS_BROKEN_PIPE", "STATUS_INTERRUPTED", "STATUS_USAGE", "Failure"]

STATUS_BAD_STREAM: Final = 1
STATUS_USAGE: Final = 2
STATUS_INTERRUPTED: Final = 130  # 128 + SIGINT, what a shell reports
STATUS_BROKEN_PIPE: Final = 141  # 128 + SIGPIPE


class Failure(Exception):  # noqa: N818 — the command's user made no error; the stream did
    """Ends a command with one line on standard error and an exit status."""

    def __init__(self, message: str, status: int = STATUS_BAD_STREAM) -> None:
        super().__init__(message)
        self.status = status
