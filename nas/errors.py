"""The one kind of error a user is expected to cause: shown as a sentence, never as a traceback."""


class UserError(Exception):
    """Something given cannot work. The message says what was given and what would do."""
