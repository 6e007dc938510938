"""The commands of `dailies`, grouped by purpose. Each parses its arguments, calls the module that does the work, and prints the result."""
