"""The JSON upload protocol: views and serializers."""
