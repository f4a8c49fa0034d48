"""The JSON upload protocol: its views, and what they accept."""
