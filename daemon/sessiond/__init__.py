"""The process around `sessionsync`: clock, threads, sockets, signals, command line."""
