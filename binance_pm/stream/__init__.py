"""User data streams: every event of an account, and every loss of one reported.

A stream keeps this promise: between two events that the user receives, nothing is missing unless a `StreamGap` stands
there. A stream is up while its connection is open and its listen key is the account's active one; otherwise it is down.

The stream:

* `stream` is what a program iterates over, `items` are what a stream yields, and `queue` keeps them for the program.
* `supervisor` keeps the stream up, and `overlap` finds out whether two connections of one listen key are both served.
* `listen_key` asks for the listen key and confirms it; `connection` reads and pings; `policy` says when to do so and
  what that proves; `identity` drops duplicates.
* `source` connects a client with a stream, `shared` is common to the streams of a session, and `timing` is the clock.
* `socket` is what a stream needs of a connection, `websocket` provides that, and `tunnel` goes through a proxy.
* `pro` is ``client.pro`` with its stream.

The live account:

* `live` is what a program uses, `live_structs` are what a live account consists of, and `parts` can be chosen.
* `live_state` holds the state, and `merge` is the rule by which events and responses change it.
* `resync` decides when a part is read, `part_reader` reads it, and `change_signal` wakes the tasks that wait.
* `placing` places orders, and `fills` finds the fills of a gap.

`order_events` shows events of an order to `Client.resolve`.
"""
