"""A budget that several processes share through Redis or Valkey."""
