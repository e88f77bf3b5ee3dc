"""`python -m training.launch`: several ranks started with msrun, watched, and ended as a whole.

What a rank does is in `run/`.
"""
