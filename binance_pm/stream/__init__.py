"""User data streams: every event of an account, and every loss of one reported.

A stream keeps this promise: between two events that the user receives, nothing is missing unless a `StreamGap` stands
there. A stream is up while its connection is open and its listen key is the account's active one; otherwise it is down.
"""
