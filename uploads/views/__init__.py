"""Views: HTTP requests and responses. Services know neither."""
