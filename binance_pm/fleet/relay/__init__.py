"""Events of a fleet for other programs, through a stream in Redis or Valkey."""
