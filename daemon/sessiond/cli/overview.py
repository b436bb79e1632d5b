"""Every command: what `--help` lists without importing any, and what a mistyped word is compared with.

By the word of the group it is in, '' for those that are in none.  Each is `command` in the
module of its words: `sessiond ctl sync` in `sessiond.cli.commands.ctl.sync`.
"""

COMMANDS: dict[str, dict[str, str]] = {
    "": {
        "run": "Run the daemon in the foreground, until it is told to stop.",
        "init": "Set it up: repository, archive, hooks and service.",
        "doctor": "Whether everything is in order, and what to do.",
        "service": "The daemon as a service of yours.",
        "hooks": "Have Claude Code tell sessiond when a turn ends.",
        "hook": "What Claude Code runs at an event.",
        "list": "What sessions there are, and where their copies lie.",
        "continue": "Get the command that resumes a session of this project.",
        "restore": "Put a session back, so that the agent finds it.",
        "search": "Find sessions by what was said in them.",
        "stats": "What sessions cost, how fast they were answered, how often resumed.",
        "note": "Notes beside the work: begin, check, read them.",
        "sync": "Capture and push once, as in CI, without a daemon.",
        "privacy": "What is secret in your sessions, as far as the rules know.",
        "forget": "Remove a session everywhere, on purpose.",
        "observe": "What Prometheus and Grafana need to watch the daemon.",
        "completion": "Have the Tab key complete commands.",
        "uninstall": "Take away what sessiond has made on this machine.",
        "ctl": "Look at the running daemon, and tell it what to do.",
    },
    "hooks": {
        "install": "Add four entries to Claude Code's settings.",
        "uninstall": "Take them out again.",
        "status": "Where they are, and when one was last heard of.",
    },
    "service": {
        "install": "Start the daemon at login and now.",
        "uninstall": "Stop the service, and take away what install made.",
        "start": "Start the service, and wait until it is ready.",
        "stop": "Stop the service until the next login, or the next start.",
        "status": "Whether the service runs, and what it said last.",
    },
    "note": {
        "new": "Begin a note of today about a topic.",
        "lint": "What keeps the next reader from going on.",
        "show": "A topic's notes as one story, the oldest first.",
    },
    "privacy": {
        "scan": "Show what would be redacted in a session, or in all.",
    },
    "ctl": {
        "status": "Whether everything is safe, and where not, why.",
        "sessions": "The sessions that are watched, newest first.",
        "show": "All that is known of one session.",
        "queue": "What waits to be sent, and why it has not gone yet.",
        "conflicts": "Sessions that were changed in two places.",
        "health": "What is wrong, since when, and what to do.",
        "events": "What has happened, oldest first.",
        "logs": "The daemon's log, wherever it lies.",
        "checkpoint": "Make a checkpoint of a session as it is now.",
        "sync": "Send now what waits.",
        "retry": "Try again what GitHub has refused.",
        "resolve": "Choose between two versions of a session.",
        "pause": "Send nothing more until `resume`.",
        "resume": "Send again, after `pause`.",
        "local-only": "Keep everything on this machine, also after a restart.",
        "verify": "Whether the copies are what was stored.",
        "repair": "Heal a session's copies from each other.",
        "reconstruct": "Make the best of a session that no copy has whole.",
        "gc": "Remove from the backup what nothing names.",
        "reload": "Read the settings again.",
        "stop": "End the daemon, and return when it has ended.",
    },
}
