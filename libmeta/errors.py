"""The one anticipated error. Raise it where the cause is, with what, where and the remedy in one line."""

DATA = 1
USAGE = 2
NOTHING_TO_SCORE = 3
CUT_SHORT = 4
INTERRUPTED = 130


class MetaError(Exception):
    """An error that a user can act on.

    message: ``"WHAT, WHERE (file, line or record); REMEDY"``, one line.
    code: exit code of the tool that meets it: DATA 1, USAGE 2, NOTHING_TO_SCORE 3, CUT_SHORT 4.
    """

    def __init__(self, message: str, code: int = DATA):
        super().__init__(" ".join(str(message).split()))
        self.code = code
