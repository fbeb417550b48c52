"""Weak problems, named with their reasons before anyone is judged by them."""
