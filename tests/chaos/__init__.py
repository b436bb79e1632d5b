"""Chaos: real daemons on two machines, everything that can go wrong in a seeded order, and an account of it.

The account is the harness's own: when it killed what, what it wrote and when, what it saw from outside, and what
lies in the stand-in's storage.  No module here imports the program, so that nothing is wrong in both in the same
way; it is asked over its command line, its socket and its files, as anybody could.
"""
