"""The types of fields in a documented answer."""

TEXT, NUMBER, LIST, OBJECT, FLAG = "text", "a number", "a list", "an object", "true or false"
