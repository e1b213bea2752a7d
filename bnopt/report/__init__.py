"""A result to the terminal or to JSON; nothing here decides anything."""
