"""What the root commands and `python -m training.*` do besides training.

How words of the command line become settings is in `command_line/`.
"""
