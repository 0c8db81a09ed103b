"""User data streams: every event of an account, and every loss of one reported.

A stream keeps this promise: between two events that the user receives, nothing is missing unless a `StreamGap` stands
there. A stream is up while its connection is open and its listen key is the account's active one; otherwise it is down.

The stream: `stream` is what a program iterates over, `items` what it yields, and `queue` what waits for the program.
`supervisor` keeps the stream up. `listen_key` asks for the key, `connection` reads and pings, `policy` decides when to
do so and what that proves, `identity` drops duplicates, and `shared` is common to the streams of a session. `source`
connects a client with a stream, `surroundings` is what a stream needs from outside, `socket` is what it needs of a
connection, `websocket` provides that, and `tunnel` goes through a proxy. `pro` is ``client.pro`` with its stream.

The live account: `live` is what a program uses, `entities` what it hands out, and `parts` what can be chosen.
`live_state` holds the state, `merge` is the rule by which events and responses change it, `resync` decides when a part
is read, and `part_reader` reads it. `placing` places orders, `order_watch` tells `Client.resolve` what events show of
an order, and `fills` finds the fills of a gap.
"""
