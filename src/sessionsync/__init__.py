"""The engine: what of a session is new, where it is kept, how it gets to GitHub and back.

It never reads the clock, sleeps, starts threads or touches signals: time (`now`, Unix seconds) and chance
(`random.Random`) are arguments. The process around it is the package `sessiond`.
"""

__version__ = "0.1.0"
