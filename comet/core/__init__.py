"""The pure core: values, bytes and numbers (see README.md in this folder)."""
