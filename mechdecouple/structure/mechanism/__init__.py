"""Mechanism: whether two models come to the same answers by the same parts and over the same variables."""
