"""What everything declared in YAML shares: a strict reader that knows lines, and problems that people can act on."""
