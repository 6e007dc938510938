"""One package for each provider that the sandbox stands in for; each exports a `FRONT`. Nothing outside a package names its provider."""
