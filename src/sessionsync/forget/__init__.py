"""Removing a session everywhere, on purpose: the one way in which anything that was captured is deleted.

    state (one commit: the session's rows go, what is to be done stays) ─▶ tombstone ─▶ plain copies, vault,
    versions from elsewhere ─▶ queue ─▶ comments │ refs of the archive

From the first commit on it is done to its end, whoever is killed: what lies on this disk when the engine
starts, what lies on GitHub and in the archive by the queue, as everything that is sent.  The agent's own file
is not touched; the tombstone keeps it, and what hooks and older backups hold of it, from coming back.
"""
