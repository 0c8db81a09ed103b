"""HTTP to the exchange: the transport protocol, and its two engines."""
