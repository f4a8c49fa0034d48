"""Export all rows of the library as JSON lines, and rebuild the library from them."""
