"""Fits the coefficients of the laws to operator measurements, and writes them."""
