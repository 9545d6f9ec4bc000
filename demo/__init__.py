"""The whole story on servers of its own: `fencepost demo`. Imports no other room but schemas and terminal."""
