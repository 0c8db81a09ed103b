"""What the exchange offers: one topic a file, Structs above, endpoints below."""
