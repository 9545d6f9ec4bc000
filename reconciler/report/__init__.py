"""A report as an operator reads it (`text`), as files (`files`) and as a table (`table`). Judges nothing."""
