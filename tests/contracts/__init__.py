"""The rules that every part of a family keeps. Subclass a contract, give it the part, and pytest runs the rules."""
