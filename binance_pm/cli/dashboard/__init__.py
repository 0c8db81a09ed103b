"""The full-screen dashboard of a fleet.

`FleetState` is the state at one moment, and `history` holds the events until then. From both, `screen` creates the
lines of the whole screen: the `rows` sorted by danger and formatted by `table`, or one account formatted by `account`.
`view` is what the user has chosen with the keys. All of these modules contain plain functions of plain data. Only `app`
depends on Textual: it requests the lines several times a second and passes keys on.
"""
