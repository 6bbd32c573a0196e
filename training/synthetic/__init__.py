"""Generates pictures that QMNIST lacks, to learn from and to measure on."""
