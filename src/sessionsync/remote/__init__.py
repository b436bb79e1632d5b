"""GitHub: its API, the format of a session's comment, and how much of a session goes there."""
