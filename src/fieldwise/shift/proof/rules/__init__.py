"""Theorems about single ops, where how an op treats positions does not say it all."""
