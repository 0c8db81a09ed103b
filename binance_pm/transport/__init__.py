"""HTTP to the exchange: the protocol of a transport, and its two engines."""
