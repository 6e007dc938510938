"""Having characters made at their providers, once each, and knowing which there are."""
