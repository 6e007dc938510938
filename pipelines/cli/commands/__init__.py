"""The commands of `dailies`, by what people do: each reads what was said, calls what does it, and shows the result."""
