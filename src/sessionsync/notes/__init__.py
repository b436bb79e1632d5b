"""A project's notes as a person works with them: begun from a template, checked, and told as one thread.

`sources.note_reading` says what stands in a note; here is what to make of it.
"""
