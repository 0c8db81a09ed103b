"""Publishing of a fleet's events to other programs through a stream in Redis or Valkey."""
