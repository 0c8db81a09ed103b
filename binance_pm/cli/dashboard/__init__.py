"""The full-screen dashboard: what a person sees of a fleet.

`state` is everything that is known at one moment, and `history` what was told until then. From both, `screen` makes
the lines of the whole screen, of `rows` sorted by danger, which `table` writes, or of one account, which `account`
writes; `view` is what the person has chosen with the keys. All of these are plain functions of plain data. Only `app`
knows Textual: it asks for the lines several times a second, and passes keys on.
"""
